package diagnosis_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestOlderDatabasePutBack: what was made and written since is reported by the journal, the status and the doctor, whether the daemon
// runs or not, and a rebuild beside the old records mends it.
func TestOlderDatabasePutBack(t *testing.T) {
	h := hubtest.HealthyHub(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	point := func(kind rpc.BackupType) string {
		t.Helper()
		b, err := h.Dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest1", BackupType: kind})
		hubtest.Must(t, err)
		h.Completes(b.BackupID, sources)
		return b.BackupID
	}
	stop := func() {
		t.Helper()
		if code := h.Daemon.End(syscall.SIGTERM); code != 0 {
			t.Fatalf("the daemon exited with %d: %s", code, h.Daemon.Stderr())
		}
	}
	point(rpc.Full)
	changed := point(rpc.Incremental)
	stop()
	database := filepath.Join(h.Dir, "state", "agent.db")
	old, err := os.ReadFile(database)
	hubtest.Must(t, err)
	h.Boot()
	newest := point(rpc.Incremental)
	h.Steps(hubtest.Step(hubtest.Words("backup consolidate "+changed), 0, "is a full backup", ""))
	stop()
	hubtest.Must(t, os.WriteFile(database, old, 0o600))

	directory := func(id string) string { return filepath.Join(h.Dir, "repository", "pgtest1", id) }
	found := func(r doctor.Report) {
		t.Helper()
		h.Finds(r, doctor.Error, "records", "main", "differ in 2 restore points: 1 without a record, 0 missing in the repository, 1 different", "rebuild --dry-run")
		h.Finds(r, doctor.Error, "records", directory(newest), "not on record", "rebuild")
		h.Finds(r, doctor.Error, "records", directory(changed), "backup_type", "incremental", "full", "rebuild")
	}
	found(h.Doctor())
	h.Boot()
	h.Eventually("the journal tells", func() bool {
		return strings.Contains(h.Daemon.Stderr(), "catalog and repository differ: is this an older database?")
	})
	for _, word := range []string{newest, changed, "unrecorded=1", "different=1", "missing=0", "sendense-agent rebuild"} {
		if !strings.Contains(h.Daemon.Stderr(), word) {
			t.Errorf("the log has no %q:\n%s", word, h.Daemon.Stderr())
		}
	}
	status, err := h.Dial().Status(t.Context())
	hubtest.Must(t, err)
	c := status.Repositories[0].Catalog
	if status.CatalogDifferences != 2 || c.Unrecorded != 1 || c.Different != 1 || c.Missing != 0 || len(c.Differences) != 2 || c.ComparedAt.IsZero() {
		t.Errorf("the status has %+v", status)
	}
	h.Steps(
		hubtest.Step(hubtest.Words("status"), 0, "2 restore points DIFFER", ""),
		hubtest.Step(hubtest.Words("repository show main"), 0, "2 restore points DIFFER", ""),
		hubtest.Step(hubtest.Words("doctor"), 1, newest, "listed above"),
	)
	found(h.Doctor())

	stop()
	p := hubtest.Start(t, hubtest.Program("sendense-agent"), "rebuild", "--config", h.Config, "--output", "json")
	if code, exited := p.Exited(hubtest.Patience); !exited || code != 0 {
		t.Fatalf("rebuild: %d %s", code, p.Stderr())
	}
	var report struct{ Imported, Corrected, Problems []map[string]string }
	hubtest.Must(t, json.Unmarshal([]byte(p.Stdout()), &report))
	if len(report.Imported) != 1 || report.Imported[0]["backup_id"] != newest || len(report.Corrected) != 1 || report.Corrected[0]["backup_id"] != changed {
		t.Errorf("rebuild: %s", p.Stdout())
	}
	if list := hubtest.Troubles(h.Doctor()); len(list) != 1 || !strings.Contains(list[0], "does not run") {
		t.Errorf("afterwards: %q", list)
	}
	h.Boot()
	h.Eventually("they are compared again", func() bool {
		s, err := h.Dial().Status(t.Context())
		hubtest.Must(t, err)
		return s.CatalogDifferences == 0 && !s.Repositories[0].Catalog.ComparedAt.IsZero()
	})
	h.Steps(hubtest.Step(hubtest.Words("status"), 0, "agrees with the repositories", ""))
	if list := hubtest.Troubles(h.Doctor()); len(list) > 0 {
		t.Errorf("in the end: %q", list)
	}
	if b, err := h.Dial().GetBackup(t.Context(), point(rpc.Incremental)); err != nil || b.ParentBackupID != newest {
		t.Errorf("the next one stands on %+v, %v", b.ParentBackupID, err)
	}
}

// TestDoctorOfUnmounted: an empty mount point, of which restore points are on record, is named, whether the daemon runs or not.
func TestDoctorOfUnmounted(t *testing.T) {
	h := hubtest.HealthyHub(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	h.Steps(hubtest.Step(hubtest.Words("backup start pgtest1 --type full --wait"), 0, "completed", "completed"))
	if code := h.Daemon.End(syscall.SIGTERM); code != 0 {
		t.Fatalf("the daemon exited with %d", code)
	}
	path := filepath.Join(h.Dir, "repository")
	hubtest.Must(t, os.Rename(path, path+".away"))
	hubtest.Must(t, os.Mkdir(path, 0o755))
	h.Finds(h.Doctor(), doctor.Error, "records", "main", "is empty: is it mounted?", "mount it")
	h.Boot()
	h.Eventually("the daemon has tried", func() bool { return strings.Contains(h.Daemon.Stderr(), "is it mounted?") })
	h.Finds(h.Doctor(), doctor.Warning, "records", "main", "the daemon cannot compare records and repository", "is empty: is it mounted?", "mounted")
	hubtest.Must(t, os.Remove(path))
	hubtest.Must(t, os.Rename(path+".away", path))
}
