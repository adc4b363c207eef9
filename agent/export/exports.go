// Package export serves images over NBD. It makes the spec of an exporter, starts its pair of units on a free port, proves that the port
// serves the right image, finds out that it has ended, and removes the pair, for the disks of backups and restores alike. It knows no
// states: backups and restores decide when an export starts and ends.
package export

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/units"
)

// Parts are what a Manager uses.
type Parts struct {
	Config       *config.Config
	Ports        *Ports
	Units        *units.Manager
	Log          *slog.Logger
	AcceptZeroes *atomic.Bool // sna.accept_write_zeroes for new exports
}

// A Manager starts, lists and removes exporters. Its methods may be called from any goroutine.
type Manager struct {
	Parts
	Connections Connections
}

// New returns a Manager.
func New(p Parts) *Manager { return &Manager{Parts: p} }

// ResultOf returns how an exporter ended. systemd counts a death by SIGTERM as success. Here it is a failure: qemu-nbd catches SIGTERM,
// writes everything and exits. If systemd did not know its main process, it did not see how that ended.
func ResultOf(u units.Unit) string {
	if u.Result == record.ResultClean && u.ExecMainCode == 0 {
		return record.ResultUnknown
	}
	if u.Result == record.ResultClean && !u.Clean() {
		return fmt.Sprintf("signal %d", u.ExecMainStatus)
	}
	return u.Result
}

// PollInterval is how often a job checks what sends no events: connections, counters, deadlines.
const PollInterval = time.Second

// BusTimeout limits one query of the units, so that a missing bus does not block the caller.
const BusTimeout = 5 * time.Second

// List returns the units of a backup, by name; of every backup if the id is empty. One query for all units is much cheaper for systemd
// than one per unit.
func (m *Manager) List(ctx context.Context, backupID string) (map[string]units.Unit, error) {
	prefix := UnitPrefix
	if backupID != "" {
		prefix = UnitsOf(backupID)
	}
	return byName(m.Units.List(ctx, prefix))
}

// byName makes a map from a list of units and passes an error through.
func byName(list []units.Unit, err error) (map[string]units.Unit, error) {
	if err != nil {
		return nil, err
	}
	loaded := make(map[string]units.Unit, len(list))
	for _, u := range list {
		loaded[u.Name] = u
	}
	return loaded, nil
}

// AcceptsZeroes returns the present value of sna.accept_write_zeroes.
func (m *Manager) AcceptsZeroes() bool { return m.AcceptZeroes.Load() }
