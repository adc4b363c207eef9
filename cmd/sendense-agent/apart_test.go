package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/rpc"
)

// TestOneDirectoryTwice: two repositories that are one directory are refused wherever a configuration is read, with both names, and
// nobody is told to remove the only copy.
func TestOneDirectoryTwice(t *testing.T) {
	h := healthyHub(t)
	sources := h.addVM("pgtest1", diskSize)
	b, err := h.dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest1", BackupType: rpc.Full})
	must(t, err)
	h.completes(b.BackupID, sources)
	main, slow := filepath.Join(h.dir, "repository"), filepath.Join(h.dir, "slow")
	must(t, os.Symlink(main, slow))
	whole, err := os.ReadFile(h.config)
	must(t, err)
	twice := string(whole) + "\n[[repository]]\nid = \"slow\"\npath = \"" + slow + "\"\n"
	must(t, os.WriteFile(h.config, []byte(twice), 0o644))
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

	h.daemon.signal(syscall.SIGHUP)
	h.eventually("the reload is refused", func() bool { return strings.Contains(h.daemon.stderr(), "the old one stays") })
	refused("the reload", strings.ReplaceAll(h.daemon.stderr(), `\"`, `"`))
	r := h.doctor()
	h.finds(r, doctor.Error, "apart", "", main, slow, "are one directory", "remove nothing", "correct the path")
	if code := h.daemon.end(syscall.SIGTERM); code != 0 {
		t.Errorf("the daemon exited with %d", code)
	}
	for _, args := range []string{"", "check-config", "rebuild", "rebuild --dry-run"} {
		p := start(t, program("sendense-agent"), append(words(args), "--config", h.config)...)
		if code, exited := p.exited(patient); !exited || code != 1 {
			t.Errorf("sendense-agent %s: %d, %v", args, code, exited)
		}
		refused("sendense-agent "+args, p.stdout()+p.stderr())
	}

	must(t, os.WriteFile(h.config, whole, 0o644))
	h.boot()
	if got, err := h.dial().GetBackup(t.Context(), b.BackupID); err != nil || got.State != rpc.Completed {
		t.Errorf("the restore point afterwards: %+v, %v", got, err)
	}
}

// TestRepositoryAwayAtStart: one that is not mounted keeps no daemon from starting, and is compared before it is used, whenever it
// comes.
func TestRepositoryAwayAtStart(t *testing.T) {
	h := healthyHub(t)
	sources := h.addVM("pgtest1", diskSize)
	slow := filepath.Join(h.dir, "slow")
	text, err := os.ReadFile(h.config)
	must(t, err)
	must(t, os.WriteFile(h.config, append(text, "\n[[repository]]\nid = \"slow\"\npath = \""+slow+"\"\n"...), 0o644))
	if code := h.daemon.end(syscall.SIGTERM); code != 0 {
		t.Errorf("the daemon exited with %d", code)
	}
	h.boot()
	if log := h.daemon.stderr(); !strings.Contains(log, "cannot be compared with the other repositories now") || !strings.Contains(log, slow) {
		t.Errorf("the log:\n%s", log)
	}
	must(t, os.Symlink(filepath.Join(h.dir, "repository"), slow))
	h.steps(
		step{words("backup start pgtest1 --repository slow --wait"), 1, "", "are one directory"},
		step{words("repository show slow"), 0, "are one directory", ""},
		step{words("repository show main"), 0, "usable", ""},
		step{words("backup start pgtest1 --wait"), 0, "completed", "completed"},
	)
	must(t, os.Remove(slow))
	must(t, os.Mkdir(slow, 0o755))
	b, err := h.dial().StartBackup(t.Context(), rpc.StartRequest{VMName: "pgtest1", BackupType: rpc.Full, RepositoryID: "slow"})
	must(t, err)
	h.completes(b.BackupID, sources)
}
