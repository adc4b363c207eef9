// Package export serves images over NBD: it makes the spec of an exporter, starts its pair of units on a free port, proves that the port
// serves what it should, and removes the pair. It knows no states: when an export begins and ends is up to backups and restores.
package export

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/units"
)

// Parts are what a Manager works with.
type Parts struct {
	Config       *config.Config
	Units        *units.Manager
	Log          *slog.Logger
	AcceptZeroes *atomic.Bool // sna.accept_write_zeroes, of the exports that are started from now on
}

// A Manager starts, lists and removes exporters. Its methods may be called from any goroutine.
type Manager struct {
	Parts
	Connections Connections
}

// New returns a Manager.
func New(p Parts) *Manager { return &Manager{Parts: p} }

// MaxParallelDisks bounds how many disks are worked on at once: systemd gains nothing from more than 16 unit starts in
// flight.
const MaxParallelDisks = 16

// ResultOf says how an exporter ended. To systemd a death by SIGTERM is a success; here it is none, because qemu-nbd
// catches that signal and exits once everything is written.
func ResultOf(u units.Unit) string {
	if u.Result == record.ResultClean && !u.Clean() {
		return fmt.Sprintf("signal %d", u.ExecMainStatus)
	}
	return u.Result
}

// PollInterval is how often a run looks at what tells it nothing by itself: connections, counters, deadlines.
const PollInterval = time.Second

// BusTimeout bounds one look at the units: while the bus is away, calls wait for it.
const BusTimeout = 5 * time.Second

// List are the units of a backup, or of every backup if the id is "", by name. To ask for all at once is a fraction of
// the work that it is for systemd to be asked for each.
func (m *Manager) List(ctx context.Context, backupID string) (map[string]units.Unit, error) {
	prefix := UnitPrefix
	if backupID != "" {
		prefix = UnitsOf(backupID)
	}
	return ByName(m.Units.List(ctx, prefix))
}

func ByName(list []units.Unit, err error) (map[string]units.Unit, error) {
	if err != nil {
		return nil, err
	}
	loaded := make(map[string]units.Unit, len(list))
	for _, u := range list {
		loaded[u.Name] = u
	}
	return loaded, nil
}

// ExporterGone is the error about the exporter of a backup's disk that has ended, with the last lines of its journal.
func (m *Manager) ExporterGone(ctx context.Context, backupID string, d record.DiskRun, how string) error {
	e := fault.New(fault.ExporterFailed, "backup %s: disk %d: exporter of %s: %s", backupID, d.DiskID, d.ExportName, how)
	e.BackupID, e.DiskID, e.Unit = backupID, new(d.DiskID), d.Unit+".service"
	ctx, cancel := context.WithTimeout(ctx, BusTimeout)
	defer cancel()
	var err error
	if e.Journal, err = m.Units.Journal(ctx, d.Unit, JournalLines); err != nil {
		e.Journal = []string{"(the journal cannot be read: " + err.Error() + ")"}
	}
	return e
}

// JournalLines is how many of a unit's last lines an error carries.
const JournalLines = 20

// AcceptsZeroes is sna.accept_write_zeroes as it is now.
func (m *Manager) AcceptsZeroes() bool { return m.AcceptZeroes.Load() }
