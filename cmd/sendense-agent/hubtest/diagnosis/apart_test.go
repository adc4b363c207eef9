package diagnosis_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestOneDirectoryTwice: two repositories that are one directory are refused wherever a configuration is read, with both names, and
// nobody is told to remove the only copy.
func TestOneDirectoryTwice(t *testing.T) {
	h := hubtest.HealthyHub(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	b, err := h.Dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest1", BackupType: rpc.Full})
	hubtest.Must(t, err)
	h.Completes(b.BackupID, sources)
	main, slow := filepath.Join(h.Dir, "repository"), filepath.Join(h.Dir, "slow")
	hubtest.Must(t, os.Symlink(main, slow))
	whole, err := os.ReadFile(h.Config)
	hubtest.Must(t, err)
	twice := string(whole) + "\n[[repository]]\nid = \"slow\"\npath = \"" + slow + "\"\n"
	hubtest.Must(t, os.WriteFile(h.Config, []byte(twice), 0o644))
	refused := func(what, text string) {
		t.Helper()
		for _, word := range []string{`repository "main" (` + main + ")", `repository "slow" (` + slow + ")", "are one directory", "remove nothing"} {
			if !strings.Contains(text, word) {
				t.Errorf("%s does not say %q:\n%s", what, word, text)
			}
		}
		if strings.Contains(text, "remove this") {
			t.Errorf("%s has the only copy removed:\n%s", what, text)
		}
	}

	h.Daemon.Signal(syscall.SIGHUP)
	h.Eventually("the reload is refused", func() bool { return strings.Contains(h.Daemon.Stderr(), "the previous one stays in use") })
	refused("the reload", strings.ReplaceAll(h.Daemon.Stderr(), `\"`, `"`))
	r := h.Doctor()
	h.Finds(r, doctor.Error, "apart", "", main, slow, "are one directory", "remove nothing", "correct the path")
	if code := h.Daemon.End(syscall.SIGTERM); code != 0 {
		t.Errorf("the daemon exited with %d", code)
	}
	for _, args := range []string{"", "check-config", "rebuild", "rebuild --dry-run"} {
		p := hubtest.Start(t, hubtest.Program("sendense-agent"), append(hubtest.Words(args), "--config", h.Config)...)
		if code, exited := p.Exited(hubtest.Patience); !exited || code != 1 {
			t.Errorf("sendense-agent %s: %d, %v", args, code, exited)
		}
		refused("sendense-agent "+args, p.Stdout()+p.Stderr())
	}

	hubtest.Must(t, os.WriteFile(h.Config, whole, 0o644))
	h.Boot()
	if got, err := h.Dial().GetBackup(t.Context(), b.BackupID); err != nil || got.State != rpc.Completed {
		t.Errorf("the restore point afterwards: %+v, %v", got, err)
	}
}

// TestRepositoryAwayAtStart: one that is not mounted keeps no daemon from starting, and is compared before it is used, whenever it
// comes.
func TestRepositoryAwayAtStart(t *testing.T) {
	h := hubtest.HealthyHub(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	slow := filepath.Join(h.Dir, "slow")
	text, err := os.ReadFile(h.Config)
	hubtest.Must(t, err)
	hubtest.Must(t, os.WriteFile(h.Config, append(text, "\n[[repository]]\nid = \"slow\"\npath = \""+slow+"\"\n"...), 0o644))
	if code := h.Daemon.End(syscall.SIGTERM); code != 0 {
		t.Errorf("the daemon exited with %d", code)
	}
	h.Boot()
	if log := h.Daemon.Stderr(); !strings.Contains(log, "cannot be compared with the other repositories now") || !strings.Contains(log, slow) {
		t.Errorf("the log:\n%s", log)
	}
	hubtest.Must(t, os.Symlink(filepath.Join(h.Dir, "repository"), slow))
	h.Steps(
		hubtest.Step(hubtest.Words("backup start pgtest1 --repository slow --wait"), 1, "", "are one directory"),
		hubtest.Step(hubtest.Words("repository show slow"), 0, "are one directory", ""),
		hubtest.Step(hubtest.Words("repository show main"), 0, "state:           ok\n", ""),
		hubtest.Step(hubtest.Words("backup start pgtest1 --wait"), 0, "completed", "completed"),
	)
	hubtest.Must(t, os.Remove(slow))
	hubtest.Must(t, os.Mkdir(slow, 0o755))
	b, err := h.Dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest1", BackupType: rpc.Full, RepositoryID: "slow"})
	hubtest.Must(t, err)
	h.Completes(b.BackupID, sources)
}
