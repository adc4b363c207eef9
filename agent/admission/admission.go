// Package admission reports whether there is room for one more backup or restore: limits, ports, cool-downs, and whether a repository is
// paused or does not answer. It leases nothing itself.
//
// # Which backup starts next
//
// Each repository has a queue of its own, first in, first out. The first backup of a queue may start unless its repository is paused,
// does not answer, or is at its own max_backups. It then competes with the first backups of the other repositories for
// limits.max_backups, for limits.max_exports, and for the ports:
//
//  1. The repository that was served longest ago is first. So the repositories take turns.
//  2. If there are too few exports or ports for a backup, the next one is tried. So no slot is idle that another backup can use.
//  3. A backup that was passed in this way [MaxPassed] times is before all others, and they wait until there is room for it. So small
//     backups do not starve one with many disks. Room is not kept when the end of running backups would not make enough of it, for
//     example because restores hold the ports.
//
// So a backup that is the first one of its repository starts after at most MaxPassed others, and a few more for each other repository.
// [Next] is the rule. A new request counts as the last one of the queue of its repository.
//
// Running backups of a repository that does not answer do not count for limits.max_backups: they would hold the slots until it
// answers. Their exports do count, because they hold the ports.
package admission

import (
	"cmp"
	"errors"
	"slices"
	"sync/atomic"
	"time"

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
	Gate   *Gate
}

// A Control admits backups and restores, one at a time. A caller holds Turn from the question whether there is room until it has taken
// the room. It waits for nothing but the database meanwhile.
type Control struct {
	Parts
	Turn *semaphore.Weighted // 1 slot

	changed atomic.Bool // something has changed since the last look

	// The rest is guarded by Turn.
	turns Turns
	begun map[string]Queued // queued backups whose turn it is, by id. They have no leases yet; their room is taken.
	short map[string]bool   // queued backups for which there were too few free ports
	last  survey            // the last look at everything
	next  Choice            // of the new backup for which there was room
}

// New returns a Control.
func New(p Parts) *Control {
	return &Control{Parts: p, Turn: semaphore.NewWeighted(1), begun: map[string]Queued{}, short: map[string]bool{}}
}

// NoRoom reports whether an error can pass without a change of the request: a limit is reached, no port is free, or the repository is
// closed.
func NoRoom(err error) bool {
	return fault.From(err).Has(fault.Busy) || errors.Is(err, nbd.ErrNoFreePort) || IsClosed(err)
}

// A survey is everything that the choice depends on, at one time.
type survey struct {
	at     time.Time
	load   Load
	queue  []Queued // in the order of arrival, without those that have begun
	closed map[string]*ClosedError
}

// surveyAge is how long a survey is good enough for those who wait in the queue, if nothing has changed.
const surveyAge = time.Second

// survey reads what is active now, and closes and forgets what is out of date.
func (c *Control) survey() (s survey, err error) {
	active, err := c.Store.Active()
	if err != nil {
		return s, fault.From(err)
	}
	s = survey{at: time.Now(), load: Load{Repository: map[string]int{}}, closed: map[string]*ClosedError{}}
	slices.SortFunc(active, func(a, b record.Backup) int {
		return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.ID, b.ID))
	})
	queued := map[string]bool{}
	for _, b := range active {
		if err := c.look(&s, b.Repository); err != nil {
			return s, err
		}
		q := Queued{ID: b.ID, Repository: b.Repository, Disks: len(b.VM.Disks), Short: c.short[b.ID]}
		switch _, begun := c.begun[b.ID]; {
		case b.State != record.Queued:
			q.Disks = len(b.Runs)
			s.running(q)
			continue
		case begun && s.closed[b.Repository] == nil:
			s.running(q)
		default:
			delete(c.begun, b.ID) // its repository was closed
			s.queue = append(s.queue, q)
		}
		queued[b.ID] = true
	}
	c.forget(queued)
	restores, err := c.Store.ActiveRestores()
	for _, r := range restores {
		s.load.Exports += len(r.Disks)
		s.load.Held += len(r.Disks)
	}
	return s, fault.From(err).OrNil()
}

// look notes whether a repository is closed.
func (c *Control) look(s *survey, repository string) (err error) {
	if _, known := s.closed[repository]; !known {
		s.closed[repository], err = c.Gate.Closed(repository)
	}
	return err
}

// running adds a backup to the load.
func (s *survey) running(q Queued) {
	s.load = s.load.add(q)
	if closed := s.closed[q.Repository]; closed != nil && closed.Stuck {
		s.load.Backups--
		s.load.Held += q.Disks
	}
}

// forget drops what is known of backups that are not queued any more.
func (c *Control) forget(queued map[string]bool) {
	for id := range c.begun {
		if !queued[id] {
			delete(c.begun, id)
		}
	}
	for id := range c.short {
		if !queued[id] {
			delete(c.short, id)
		}
	}
	for id := range c.turns.passed {
		if !queued[id] {
			delete(c.turns.passed, id)
		}
	}
}

// limits are the configured limits.
func (c *Control) limits() Limits {
	l := Limits{Backups: c.Config.Limits.MaxBackups, Exports: c.MaxExports(), Repository: map[string]int{}}
	for _, r := range c.Config.Repositories {
		l.Repository[r.ID] = r.MaxBackups
	}
	return l
}

// MaxExports returns how many disks may be exported at the same time: limits.max_exports, but not more than there are ports.
func (c *Control) MaxExports() int {
	if n := c.Config.Limits.MaxExports; n > 0 {
		return min(n, c.Ports.Range.Len())
	}
	return c.Ports.Range.Len()
}

// Exports returns how many disks are exported, and how many backups are queued. The caller holds Turn.
func (c *Control) Exports() (exports, queued int, err error) {
	s, err := c.survey()
	return s.load.Exports, len(s.queue) + len(c.begun), err
}
