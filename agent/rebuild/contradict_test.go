package rebuild_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
)

// TestContradictions: what is on record as something else is told of, and nobody is told to remove it.
func TestContradictions(t *testing.T) {
	h := newHub(t)
	whole := h.chain("whole", 1)[0]
	failed := h.publish(newManifest("failed", 1_700_000_000, nil))
	b := failed.Backup("main", h.repo.Dir("failed", failed.BackupID))
	b.State = record.Failed
	_, err := h.db.Import(b)
	must(t, err)
	deleted := h.chain("deleted", 1)[0]
	for _, err := range []error{
		func() error {
			_, _, err := h.db.Update(deleted.BackupID, time.Now(), func(b *record.Backup) error { b.State = record.Deleting; return nil })
			return err
		}(),
		h.db.RemoveBackup(deleted.BackupID, time.Now()),
	} {
		must(t, err)
	}
	strange := h.chain("strange", 1)[0]
	must(t, h.repo.RemovePoint(t.Context(), "strange", strange.BackupID))
	strange.Disks[0].ChangeID = "of another snapshot"
	h.publish(strange)
	unread := h.publish(newManifest("unread", 1_700_000_000, nil))
	path := filepath.Join(h.repo.Dir("unread", unread.BackupID), manifest.FileName)
	must(t, os.Chmod(path, 0o640))
	must(t, os.WriteFile(path, []byte("{"), 0o440))
	without := h.chain("without", 1)[0]
	must(t, os.Remove(filepath.Join(h.repo.Dir("without", without.BackupID), manifest.FileName)))

	h.finds(map[string]string{
		"unrecorded " + failed.BackupID:  "on record as failed",
		"unrecorded " + deleted.BackupID: "on record as deleted",
		"unrecorded " + unread.BackupID:  "its manifest cannot be read",
		"different " + strange.BackupID:  `change_id: "change/1700000000" on record, "of another snapshot" in the manifest`,
		"missing " + without.BackupID:    "its manifest is not there",
	})

	// The same restore point in a second repository: as a copy, as another one, and as the very same directory.
	copied := storage.New(storage.Options{Spec: storage.Spec{ID: "copy", Path: filepath.Join(h.dir, "copy")}})
	must(t, os.CopyFS(copied.Path, os.DirFS(h.repo.Path)))
	linked := storage.New(storage.Options{Spec: storage.Spec{ID: "linked", Path: filepath.Join(h.dir, "linked")}})
	must(t, os.Symlink(h.repo.Path, linked.Path))
	for _, r := range []*storage.Repository{copied, linked} {
		report, err := rebuild.Update(t.Context(), h.db, []*storage.Repository{r})
		must(t, err)
		said := ""
		for _, p := range report.Problems {
			said += p.Reason + "\n"
		}
		want := []string{whole.BackupID + " is on record in " + h.repo.Dir("whole", whole.BackupID) + ", and the two manifests agree", "diff -r ", "and that one differs: disk 0: change_id"}
		if r == linked {
			want = []string{"the same directory under another name: remove nothing"}
		}
		for _, word := range want {
			if !strings.Contains(said, word) {
				t.Errorf("%s: no problem says %q:\n%s", r.ID, word, said)
			}
		}
		if strings.Contains(said, "remove this") || strings.Contains(said, "remove the") {
			t.Errorf("%s: somebody is told to remove what may be the only copy:\n%s", r.ID, said)
		}
	}
	renamed := storage.New(storage.Options{Spec: storage.Spec{ID: "renamed", Path: h.repo.Path}})
	c, err := rebuild.Compare(t.Context(), h.db, renamed, nil)
	must(t, err)
	if c.Unrecorded != 5 || !strings.Contains(c.Named[len(c.Named)-1].Reason, "on record in repository main") {
		t.Errorf("of a repository with another id: %+v", c)
	}
	report, err := rebuild.Update(t.Context(), h.db, []*storage.Repository{renamed})
	must(t, err)
	if len(report.AlreadyThere)+len(report.Corrected) != 0 || !strings.Contains(report.Problems[len(report.Problems)-1].Reason, "give the repository its old id") {
		t.Errorf("a rebuild of it: %+v", report)
	}
	if r := h.update(); len(r.Corrected) != 0 {
		t.Errorf("corrected: %+v", r.Corrected)
	}
	if b, err := h.db.Backup(strange.BackupID); err != nil || b.Runs[0].ChangeID != "change/1700000000" {
		t.Errorf("the record of another snapshot follows: %+v, %v", b, err)
	}
}
