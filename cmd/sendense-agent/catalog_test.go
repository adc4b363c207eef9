package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/rpc"
)

// TestOlderDatabasePutBack: what was made and written anew since is told by the journal, the status and the doctor, whether the daemon
// runs or not, and a rebuild beside the old records mends it.
func TestOlderDatabasePutBack(t *testing.T) {
	h := healthyHub(t)
	sources := h.addVM("pgtest1", diskSize)
	point := func(kind rpc.BackupType) string {
		t.Helper()
		b, err := h.dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest1", BackupType: kind})
		must(t, err)
		h.completes(b.BackupID, sources)
		return b.BackupID
	}
	stop := func() {
		t.Helper()
		if code := h.daemon.end(syscall.SIGTERM); code != 0 {
			t.Fatalf("the daemon exited with %d: %s", code, h.daemon.stderr())
		}
	}
	point(rpc.Full)
	changed := point(rpc.Incremental)
	stop()
	database := filepath.Join(h.dir, "state", "agent.db")
	old, err := os.ReadFile(database)
	must(t, err)
	h.boot()
	newest := point(rpc.Incremental)
	h.steps(step{words("backup consolidate " + changed), 0, "is a full backup", ""})
	stop()
	must(t, os.WriteFile(database, old, 0o600))

	directory := func(id string) string { return filepath.Join(h.dir, "repository", "pgtest1", id) }
	found := func(r doctor.Report) {
		t.Helper()
		h.finds(r, doctor.Error, "records", "main", "differ in 2 restore points: 1 without a record, 0 missing in the repository, 1 different", "rebuild --dry-run")
		h.finds(r, doctor.Error, "records", directory(newest), "not on record", "rebuild")
		h.finds(r, doctor.Error, "records", directory(changed), "backup_type", "incremental", "full", "rebuild")
	}
	found(h.doctor())
	h.boot()
	h.eventually("the journal tells", func() bool {
		return strings.Contains(h.daemon.stderr(), "catalog and repository differ: is this an older database?")
	})
	for _, word := range []string{newest, changed, "unrecorded=1", "different=1", "missing=0", "sendense-agent rebuild"} {
		if !strings.Contains(h.daemon.stderr(), word) {
			t.Errorf("the log has no %q:\n%s", word, h.daemon.stderr())
		}
	}
	status, err := h.dial().Status(t.Context())
	must(t, err)
	c := status.Repositories[0].Catalog
	if status.CatalogDifferences != 2 || c.Unrecorded != 1 || c.Different != 1 || c.Missing != 0 || len(c.Differences) != 2 || c.ComparedAt.IsZero() {
		t.Errorf("the status has %+v", status)
	}
	h.steps(
		step{words("status"), 0, "2 restore points DIFFER", ""},
		step{words("repository show main"), 0, "2 restore points DIFFER", ""},
		step{words("doctor"), 1, newest, "named above"},
	)
	found(h.doctor())

	stop()
	p := start(t, program("sendense-agent"), "rebuild", "--config", h.config, "--output", "json")
	if code, exited := p.exited(patient); !exited || code != 0 {
		t.Fatalf("rebuild: %d %s", code, p.stderr())
	}
	var report struct{ Imported, Corrected, Problems []map[string]string }
	must(t, json.Unmarshal([]byte(p.stdout()), &report))
	if len(report.Imported) != 1 || report.Imported[0]["backup_id"] != newest || len(report.Corrected) != 1 || report.Corrected[0]["backup_id"] != changed {
		t.Errorf("rebuild: %s", p.stdout())
	}
	if list := troubles(h.doctor()); len(list) != 1 || !strings.Contains(list[0], "does not run") {
		t.Errorf("afterwards: %q", list)
	}
	h.boot()
	h.eventually("they are compared again", func() bool {
		s, err := h.dial().Status(t.Context())
		must(t, err)
		return s.CatalogDifferences == 0 && !s.Repositories[0].Catalog.ComparedAt.IsZero()
	})
	h.steps(step{words("status"), 0, "agrees with what lies in the repositories", ""})
	if list := troubles(h.doctor()); len(list) > 0 {
		t.Errorf("in the end: %q", list)
	}
	if b, err := h.dial().GetBackup(t.Context(), point(rpc.Incremental)); err != nil || b.ParentBackupID != newest {
		t.Errorf("the next one stands on %+v, %v", b.ParentBackupID, err)
	}
}

// TestDoctorOfUnmounted: an empty mount point, of which restore points are on record, is named, whether the daemon runs or not.
func TestDoctorOfUnmounted(t *testing.T) {
	h := healthyHub(t)
	h.addVM("pgtest1", diskSize)
	h.steps(step{words("backup start pgtest1 --type full --wait"), 0, "completed", "completed"})
	if code := h.daemon.end(syscall.SIGTERM); code != 0 {
		t.Fatalf("the daemon exited with %d", code)
	}
	path := filepath.Join(h.dir, "repository")
	must(t, os.Rename(path, path+".away"))
	must(t, os.Mkdir(path, 0o755))
	h.finds(h.doctor(), doctor.Error, "records", "main", "is empty: is it mounted?", "mount it")
	h.boot()
	h.eventually("the daemon has tried", func() bool { return strings.Contains(h.daemon.stderr(), "is it mounted?") })
	h.finds(h.doctor(), doctor.Warning, "records", "main", "the daemon cannot compare records and repository", "is empty: is it mounted?", "mounted")
	must(t, os.Remove(path))
	must(t, os.Rename(path+".away", path))
}
