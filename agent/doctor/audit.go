package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/audit"
	"github.com/sendense/backup-agent/agent/config"
)

func auditPath(cfg *config.Config) string { return filepath.Join(cfg.Agent.StateDirectory, "audit") }

// auditLog checks that the chain of the audit log holds, as "sendense-agent audit verify" does.
func auditLog(cfg *config.Config, daemonRuns bool) []Finding {
	about := one("audit", auditPath(cfg))
	if !cfg.Audit.Enabled {
		return about.skip("audit.enabled is false: nobody records who asked for what", "")
	}
	first, last, err := audit.Read(auditPath(cfg), nil, nil)
	broken := new(audit.Broken)
	if errors.As(err, &broken) && daemonRuns {
		first, last, err = audit.Read(auditPath(cfg), nil, nil) // the daemon may have been writing a line
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return about.ok("there is none yet")
	case errors.Is(err, fs.ErrPermission):
		return about.skip("this user may not read it", "run as root")
	case errors.As(err, &broken):
		return about.warn("a line was changed, removed or moved: "+err.Error(),
			"find out who did that. Then move the directory away and restart the daemon: it begins a new log")
	case err != nil:
		return about.warn(err.Error(), "look at its file system")
	}
	return about.ok(fmt.Sprintf("the chain holds, lines %d to %d", first.Sequence, last.Sequence))
}

// auditWritten checks that the daemon could write the last entry.
func auditWritten(cfg *config.Config, problem error) []Finding {
	about := one("audit", auditPath(cfg))
	switch {
	case !cfg.Audit.Enabled:
		return about.skip("audit.enabled is false: nobody records who asked for what", "")
	case problem != nil:
		return about.warn("requests are not recorded: "+problem.Error(), "free space on its file system, or see 'sendense-agent audit verify'")
	}
	return about.ok("the last entry was written")
}
