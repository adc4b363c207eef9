package hostiletest_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// hasReason checks the reason of an error, and that its message and hint together have the words.
func hasReason(t testing.TB, err error, reason fault.Reason, words ...string) {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) || e.Reason != reason {
		t.Errorf("%v: not %s", err, reason)
		return
	}
	for _, w := range words {
		if !strings.Contains(e.Message+"\n"+e.Hint, w) {
			t.Errorf("%q, hint %q: says nothing of %q", e.Message, e.Hint, w)
		}
	}
}

// TestProgramsOfQEMUMissing: a backup that needs a program which is not there says which one.
func TestProgramsOfQEMUMissing(t *testing.T) {
	t.Parallel()
	for program, remove := range map[string]func(*config.Config){
		"/none/qemu-nbd": func(c *config.Config) { c.NBD.QemuNBD = "/none/qemu-nbd" },
		"/none/qemu-img": func(c *config.Config) { c.NBD.QemuImg = "/none/qemu-img" },
	} {
		w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { remove(c) })
		w.PutVM("vm", 8<<20)
		_, err := w.Agent.Backups.Start(context.Background(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
		hasReason(t, err, fault.ProgramMissing, program, "install the package")
	}
}
