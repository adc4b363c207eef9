package rebuild_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A hub has a database and repositories, and no daemon.
type hub struct {
	*testing.T
	dir  string
	repo *repository.Repository
	db   *store.Store
}

func newHub(t *testing.T) *hub {
	dir := t.TempDir()
	h := &hub{T: t, dir: dir, repo: repository.New("main", filepath.Join(dir, "main"), nil)}
	must(t, os.Mkdir(h.repo.Path, 0o755))
	h.open("agent.db")
	return h
}

func (h *hub) open(name string) {
	h.Helper()
	db, err := store.Open(filepath.Join(h.dir, name), store.Options{})
	must(h.T, err)
	h.Cleanup(func() { _ = db.Close() })
	h.db = db
}

func manifest(vm string, second int64, parent *repository.Manifest) repository.Manifest {
	file := nbd.ExportName(vm, 0) + ".qcow2"
	disk := repository.ManifestDisk{
		Key: 2000, CapacityBytes: 1 << 20, File: file, Format: "qcow2", Content: backup.WholeDisk,
		ChangeID: fmt.Sprint("change/", second), Check: repository.ManifestCheck{Result: repository.CheckClean},
	}
	m := repository.Manifest{
		Version: repository.ManifestVersion, BackupID: nbd.BackupID(vm, second), Type: backup.Full, Repository: "main",
		VM: repository.ManifestVM{Name: vm}, CreatedAt: time.Unix(second, 0), CompletedAt: time.Unix(second+1, 0),
	}
	if parent != nil {
		m.Type, m.Parent = backup.Incremental, parent.BackupID
		disk.Content, disk.Change, disk.Backing = backup.Changes, backup.Same, "../"+parent.BackupID+"/"+file
	}
	m.Disks = []repository.ManifestDisk{disk}
	return m
}

// publish makes a restore point and leaves the database alone.
func (h *hub) publish(m repository.Manifest) repository.Manifest {
	h.Helper()
	vm := nbd.DirName(m.VM.Name)
	must(h.T, h.repo.MakeDir(vm, m.BackupID))
	must(h.T, os.WriteFile(filepath.Join(h.repo.Dir(vm, m.BackupID), m.Disks[0].File), []byte(m.BackupID), 0o600))
	must(h.T, h.repo.Publish(vm, m))
	return m
}

func (h *hub) record(m repository.Manifest) backup.Backup {
	h.Helper()
	b := m.Backup("main", h.repo.Dir(nbd.DirName(m.VM.Name), m.BackupID))
	if added, err := h.db.Import(b); err != nil || !added {
		h.Fatalf("%v, %v", added, err)
	}
	return b
}

// chain makes a full backup and incrementals, recorded.
func (h *hub) chain(vm string, length int) (chain []repository.Manifest) {
	h.Helper()
	for i := range length {
		m := manifest(vm, 1_700_000_000+int64(i), nil)
		if i > 0 {
			m = manifest(vm, 1_700_000_000+int64(i), &chain[i-1])
		}
		chain = append(chain, h.publish(m))
		h.record(m)
	}
	return chain
}

// rewritten puts a restore point on other ground, as a merge does, and leaves the database alone.
func (h *hub) rewritten(m repository.Manifest, onto *repository.Manifest) repository.Manifest {
	h.Helper()
	vm := nbd.DirName(m.VM.Name)
	must(h.T, h.repo.RemovePoint(vm, m.BackupID))
	again := manifest(m.VM.Name, m.CreatedAt.Unix(), onto)
	again.Rewritten = &backup.Rewritten{At: time.Unix(1_800_000_000, 0), Merged: 1, Synthetic: onto == nil}
	return h.publish(again)
}

func (h *hub) compare() rebuild.Comparison {
	h.Helper()
	c, err := rebuild.Compare(h.Context(), h.db, h.repo, nil)
	must(h.T, err)
	return c
}

// finds wants exactly these differences: KIND ID, and a part of the reason.
func (h *hub) finds(want map[string]string) {
	h.Helper()
	c := h.compare()
	var got []string
	for _, d := range c.Named {
		key := string(d.Kind) + " " + d.BackupID
		got = append(got, key)
		if word, expected := want[key]; !expected || !strings.Contains(d.Reason, word) {
			h.Errorf("%s: %s, want %q", key, d.Reason, word)
		}
		if strings.Contains(d.Reason, "remove th") || filepath.Base(d.Path) != d.BackupID {
			h.Errorf("%+v", d)
		}
	}
	if len(got) != len(want) || c.Differences() != len(want) {
		h.Errorf("found %q, want %q", got, slices.Sorted(maps.Keys(want)))
	}
}

func (h *hub) update() *rebuild.Report {
	h.Helper()
	r, err := rebuild.Update(h.db, []*repository.Repository{h.repo})
	must(h.T, err)
	must(h.T, h.db.Check(h.Context()))
	return r
}

// TestOlderDatabase: a database that was put back knows nothing of what was made, written anew and deleted since. All of it is
// found, and a rebuild mends what can be mended.
func TestOlderDatabase(t *testing.T) {
	h := newHub(t)
	chain := h.chain("vm", 4)
	kept := h.chain("kept", 2)
	h.finds(nil)
	old, err := os.ReadFile(filepath.Join(h.dir, "agent.db"))
	must(t, err)

	// A merge of 1 into 2, a consolidation of the other VM's newest, a new restore point, and a new VM.
	h.rewritten(chain[2], &chain[0])
	must(t, h.repo.RemovePoint("vm", chain[1].BackupID))
	h.rewritten(kept[1], nil)
	fresh := h.publish(manifest("vm", 1_700_000_100, &chain[3]))
	other := h.publish(manifest("other", 1_700_000_000, nil))
	must(t, os.WriteFile(filepath.Join(h.dir, "old.db"), old, 0o600))
	h.open("old.db")

	h.finds(map[string]string{
		"unrecorded " + fresh.BackupID: "not on record", "unrecorded " + other.BackupID: "not on record",
		"missing " + chain[1].BackupID:   "its directory is not there",
		"different " + chain[2].BackupID: fmt.Sprintf("parent: %q on record, %q in the manifest", chain[1].BackupID, chain[0].BackupID),
		"different " + kept[1].BackupID:  `backup_type: "incremental" on record, "full" in the manifest`,
	})
	r := h.update()
	if len(r.Imported) != 2 || len(r.Corrected) != 2 || len(r.AlreadyThere) != 3 || len(r.Problems) != 0 || len(r.VMs) != 3 {
		t.Errorf("%+v", r)
	}
	h.finds(map[string]string{"missing " + chain[1].BackupID: ""})
	b, err := h.db.Backup(chain[2].BackupID)
	if err != nil || b.Parent != chain[0].BackupID || b.Rewritten == nil || b.Runs[0].Backing != "../"+chain[0].BackupID+"/"+chain[0].Disks[0].File {
		t.Errorf("%+v, %v", b, err)
	}
	if r := h.update(); len(r.Imported)+len(r.Corrected) != 0 || len(r.AlreadyThere) != 7 {
		t.Errorf("once more: %+v", r)
	}
}

// TestNoDifference: nothing that is at work, or was put away, is one.
func TestNoDifference(t *testing.T) {
	h := newHub(t)
	chain := h.chain("vm", 3)
	must(t, h.repo.MakeDir("vm", "vm-running"))
	must(t, h.repo.MakeDir("new", "new-running"))
	must(t, h.repo.MakeScratch("restore-1"))
	must(t, h.repo.MakeDir("vm", "vm-failed"))
	_, err := h.repo.SetAside("vm", "vm-failed")
	must(t, err)
	must(t, h.repo.MakeMerge("vm", chain[2].BackupID))
	must(t, os.WriteFile(filepath.Join(h.repo.Path, "vm", "README"), nil, 0o600))
	must(t, os.Mkdir(filepath.Join(h.repo.Path, "lost+found"), 0o700))
	h.finds(nil)

	// It is being written anew, and its directory was exchanged: the record follows in a moment.
	_, _, err = h.db.Update(chain[2].BackupID, time.Now(), func(b *backup.Backup) error {
		b.Rewrite = &backup.Rewrite{Onto: chain[0].BackupID, StartedAt: time.Now()}
		return nil
	})
	must(t, err)
	must(t, h.repo.RemoveMerge("vm", chain[2].BackupID))
	h.rewritten(chain[2], &chain[0])
	h.finds(nil)
	if r := h.update(); len(r.Corrected)+len(r.Problems) != 0 {
		t.Errorf("a rebuild meddles with it: %+v", r)
	}

	// A backup finishes: its manifest stands, its record says so in a moment. Another is being deleted.
	second := int64(1_700_000_500)
	running, _, err := h.db.Prepare(store.Preparation{
		Backup: backup.Backup{VM: backup.VM{Name: "now", Disks: []backup.Disk{{CapacityBytes: 1 << 20}}}, Type: backup.Full, Repository: "main"},
		Now:    time.Unix(second, 0), ID: func(at int64) string { return nbd.BackupID("now", at) },
		Ports: func(uint16, func(uint16) bool, int) ([]uint16, error) { return []uint16{10100}, nil },
		Complete: func(b *backup.Backup, leases []backup.Lease) {
			b.Directory = h.repo.Dir("now", b.ID)
			b.Runs[0].ExportName, b.Runs[0].Image, b.Runs[0].Unit = "x", b.Directory+"/x.qcow2", "sendense-nbd-"+leases[0].Nonce
		},
	})
	must(t, err)
	m := manifest("now", second, nil)
	if m.BackupID != running.ID {
		t.Fatalf("%s and %s", m.BackupID, running.ID)
	}
	h.publish(m)
	gone := h.chain("gone", 1)
	_, _, err = h.db.Update(gone[0].BackupID, time.Now(), func(b *backup.Backup) error {
		b.State = backup.Deleting
		return nil
	})
	must(t, err)
	h.finds(nil)
	must(t, os.RemoveAll(h.repo.Dir("gone", gone[0].BackupID)))
	h.finds(nil)
}

// TestContradictions: what is on record as something else is told of, and nobody is told to remove it.
func TestContradictions(t *testing.T) {
	h := newHub(t)
	whole := h.chain("whole", 1)[0]
	failed := h.publish(manifest("failed", 1_700_000_000, nil))
	b := failed.Backup("main", h.repo.Dir("failed", failed.BackupID))
	b.State = backup.Failed
	_, err := h.db.Import(b)
	must(t, err)
	deleted := h.chain("deleted", 1)[0]
	for _, err := range []error{
		h.db.Correct(deleted.BackupID, time.Now(), func(*backup.Backup) {}),
		func() error {
			_, _, err := h.db.Update(deleted.BackupID, time.Now(), func(b *backup.Backup) error { b.State = backup.Deleting; return nil })
			return err
		}(),
		h.db.RemoveBackup(deleted.BackupID, time.Now()),
	} {
		must(t, err)
	}
	strange := h.chain("strange", 1)[0]
	must(t, h.repo.RemovePoint("strange", strange.BackupID))
	strange.Disks[0].ChangeID = "of another snapshot"
	h.publish(strange)
	unread := h.publish(manifest("unread", 1_700_000_000, nil))
	path := filepath.Join(h.repo.Dir("unread", unread.BackupID), repository.ManifestName)
	must(t, os.Chmod(path, 0o640))
	must(t, os.WriteFile(path, []byte("{"), 0o440))
	without := h.chain("without", 1)[0]
	must(t, os.Remove(filepath.Join(h.repo.Dir("without", without.BackupID), repository.ManifestName)))

	h.finds(map[string]string{
		"unrecorded " + failed.BackupID:  "on record as failed",
		"unrecorded " + deleted.BackupID: "on record as deleted",
		"unrecorded " + unread.BackupID:  "its manifest cannot be read",
		"different " + strange.BackupID:  `change_id: "change/1700000000" on record, "of another snapshot" in the manifest`,
		"missing " + without.BackupID:    "its manifest is not there",
	})

	// The same restore point in a second repository: as a copy, as another one, and as the very same directory.
	copied := repository.New("copy", filepath.Join(h.dir, "copy"), nil)
	must(t, os.CopyFS(copied.Path, os.DirFS(h.repo.Path)))
	linked := repository.New("linked", filepath.Join(h.dir, "linked"), nil)
	must(t, os.Symlink(h.repo.Path, linked.Path))
	for _, r := range []*repository.Repository{copied, linked} {
		report, err := rebuild.Update(h.db, []*repository.Repository{r})
		must(t, err)
		said := ""
		for _, p := range report.Problems {
			said += p.Reason + "\n"
		}
		want := []string{whole.BackupID + " is on record in " + h.repo.Dir("whole", whole.BackupID) + ", and its manifest says the same", "diff -r ", "and is another one: disk 0: change_id"}
		if r == linked {
			want = []string{"this very directory under another name: remove nothing"}
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
	if r := h.update(); len(r.Corrected) != 0 {
		t.Errorf("corrected: %+v", r.Corrected)
	}
	if b, err := h.db.Backup(strange.BackupID); err != nil || b.Runs[0].ChangeID != "change/1700000000" {
		t.Errorf("the record of another snapshot follows: %+v, %v", b, err)
	}
}

// TestRepositoryAway: a repository that is away has nothing missing.
func TestRepositoryAway(t *testing.T) {
	h := newHub(t)
	h.finds(nil) // empty, and nothing on record
	h.chain("vm", 2)
	must(t, os.Rename(h.repo.Path, h.repo.Path+".away"))
	if _, err := rebuild.Compare(t.Context(), h.db, h.repo, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("not there: %v", err)
	}
	must(t, os.Mkdir(h.repo.Path, 0o755))
	if _, err := rebuild.Compare(t.Context(), h.db, h.repo, nil); !errors.Is(err, repository.ErrEmpty) {
		t.Errorf("not mounted: %v", err)
	}
	must(t, os.Remove(h.repo.Path))
	must(t, os.Rename(h.repo.Path+".away", h.repo.Path))
	ctx, cancel := context.WithCancel(t.Context())
	read := 0
	_, err := rebuild.Compare(ctx, h.db, h.repo, func(context.Context) error {
		read++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || read != 1 {
		t.Errorf("cancelled: %v, %d manifests were read", err, read)
	}
	h.finds(nil)
}

// TestManyDifferences: all are counted, the first are named.
func TestManyDifferences(t *testing.T) {
	h := newHub(t)
	for i := range 30 {
		h.publish(manifest("vm", 1_700_000_000+int64(i), nil))
	}
	c := h.compare()
	if c.Unrecorded != 30 || len(c.Named) != 20 || c.Points != 30 || c.At.IsZero() {
		t.Errorf("%+v", c)
	}
}
