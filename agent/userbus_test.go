package agent_test

import (
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// TestUserBus makes a backup through the service manager of a user, where everything runs as that user.
func TestUserBus(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", systemdtest.UserManager(t))
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Agent.Bus, c.Agent.ExporterUser, c.Agent.ExporterGroup = config.BusUser, "", ""
	})
	_, sources := w.PutVM("vm", 8<<20, 1<<20)
	w.Completes(w.StartBackup("vm"), sources)
}
