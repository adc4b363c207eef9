// Package admission reports whether there is room for one more backup or restore: limits, ports and cool-downs. It leases nothing itself.
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

// Parts are what a Control uses.
type Parts struct {
	Config *config.Config
	Store  *store.Store
	Ports  *export.Ports
}

// A Control admits backups and restores, one at a time. A caller holds Turn from the question whether there is room until it has taken
// the room.
type Control struct {
	Parts
	Turn *semaphore.Weighted // 1 slot
}

// New returns a Control.
func New(p Parts) *Control { return &Control{Parts: p, Turn: semaphore.NewWeighted(1)} }

// NoRoom reports whether an error can pass when other backups end: a limit is reached, or no port is free.
func NoRoom(err error) bool {
	return fault.From(err).Has(fault.Busy) || errors.Is(err, nbd.ErrNoFreePort)
}

// Load is what is active and queued now. Exports counts the disks of backups and restores that are not queued.
type Load struct {
	backups, Exports, Queued int
	first                    string // id of the backup that is first in the queue; "" = none
}

// Running returns the present load, from the database.
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

// RoomFor returns why a backup with that many disks cannot run now, as reason Busy; nil if it can. turn is the id of a queued backup, or
// "" for a new one. The caller holds Turn.
func (c *Control) RoomFor(disks int, turn string) error {
	l, err := c.Running()
	if err != nil {
		return err
	}
	limits := c.Config.Limits
	switch {
	case l.first != turn:
		return fault.New(fault.Busy, "%d backups are queued", l.Queued).WithHint("use queue, or try again later")
	case limits.MaxBackups > 0 && l.backups >= limits.MaxBackups:
		return fault.New(fault.Busy, "the limit of parallel backups is reached: %d are running", l.backups).
			WithHint("use queue, try again later, or raise limits.max_backups")
	case limits.MaxExports > 0 && l.Exports+disks > limits.MaxExports:
		return fault.New(fault.Busy, "%d disks are exported; %d more would exceed the limit of %d",
			l.Exports, disks, limits.MaxExports).
			WithHint("use queue, try again later, or raise limits.max_exports")
	}
	return nil
}

// MaxExports returns how many disks may be exported at the same time: limits.max_exports, but not more than there are ports.
func (c *Control) MaxExports() int {
	if n := c.Config.Limits.MaxExports; n > 0 {
		return min(n, c.Ports.Range.Len())
	}
	return c.Ports.Range.Len()
}
