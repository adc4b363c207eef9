// Package admission says whether there is room for one more backup or restore: limits, ports and cool-downs. It leases nothing itself.
package admission

import (
	"errors"

	"golang.org/x/sync/semaphore"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// Parts are what a Control works with.
type Parts struct {
	Config *config.Config
	Store  *store.Store
	Ports  *export.Ports
}

// A Control admits backups and restores, one at a time: who asks for room and takes it holds Turn from the one to the other.
type Control struct {
	Parts
	Turn *semaphore.Weighted // of 1
}

// New returns a Control.
func New(p Parts) *Control { return &Control{Parts: p, Turn: semaphore.NewWeighted(1)} }

// NoRoom says whether an error will pass when other backups end.
func NoRoom(err error) bool {
	return fault.From(err).Has(fault.Busy) || errors.Is(err, nbd.ErrNoFreePort)
}

// Load is what is going on now.
type Load struct {
	backups, Exports, Queued int
	first                    string // the backup that has waited longest
}

func (c *Control) Running() (Load, error) {
	active, err := c.Store.Active()
	if err != nil {
		return Load{}, fault.From(err)
	}
	var l Load
	for _, b := range active {
		if b.State == record.Queued {
			l.Queued++
			continue
		}
		l.backups++
		l.Exports += len(b.Runs)
	}
	restores, err := c.Store.ActiveRestores()
	if err != nil {
		return Load{}, fault.From(err)
	}
	for _, r := range restores {
		l.Exports += len(r.Disks)
	}
	next, found, err := c.Store.NextQueued()
	if found {
		l.first = next.ID
	}
	return l, err
}

// RoomFor says what keeps a backup of so many disks from running now; nil if nothing does. turn is the id of a backup that
// is queued, "" for a new one. The caller holds admission.
func (c *Control) RoomFor(disks int, turn string) error {
	l, err := c.Running()
	if err != nil {
		return err
	}
	limits := c.Config.Limits
	switch {
	case l.first != turn:
		e := fault.New(fault.Busy, "%d backups are queued", l.Queued)
		e.Hint = "use queue, or try again later"
		return e
	case limits.MaxBackups > 0 && l.backups >= limits.MaxBackups:
		e := fault.New(fault.Busy, "the limit of parallel backups is reached: %d are running", l.backups)
		e.Hint = "use queue, try again later, or raise limits.max_backups"
		return e
	case limits.MaxExports > 0 && l.Exports+disks > limits.MaxExports:
		e := fault.New(fault.Busy, "%d disks are exported; %d more would exceed the limit of %d",
			l.Exports, disks, limits.MaxExports)
		e.Hint = "use queue, try again later, or raise limits.max_exports"
		return e
	}
	return nil
}

// MaxExports is how many disks may be exported at the same time.
func (c *Control) MaxExports() int {
	if n := c.Config.Limits.MaxExports; n > 0 {
		return min(n, c.Ports.Range.Len())
	}
	return c.Ports.Range.Len()
}
