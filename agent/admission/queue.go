package admission

import (
	"maps"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// newID is the id of a request that is not on record yet, among the queued backups.
const newID = ""

// RoomForNew returns why a new backup cannot run now; nil if it can. It cannot while a queued backup that would start before it has not
// got its room. The reason is Busy, or that of Gate.Check. The caller holds Turn, and calls Started when the backup has its leases.
func (c *Control) RoomForNew(b record.Backup) error {
	s, err := c.begin()
	if err != nil {
		return err
	}
	if err := c.look(&s, b.Repository); err != nil {
		return err
	}
	s.queue = append(slices.Clip(s.queue), Queued{ID: newID, Repository: b.Repository, Disks: len(b.VM.Disks)})
	choice := Next(s.queue, s.load, c.limits(), s.closedSet(), c.turns)
	if choice.Found {
		c.next = choice
		return nil
	}
	why := c.why(s, s.queue[len(s.queue)-1], choice)
	if !why.Has(fault.Busy) {
		return why
	}
	if why.Hint == "" {
		return why.WithHint("use queue, or try again later")
	}
	return why.WithHint("use queue, try again later, or " + why.Hint)
}

// Started notes that the new backup for which there was room has its leases.
func (c *Control) Started() {
	c.turns = c.turns.After(c.next)
	c.changed.Store(true)
}

// RoomFor returns why a queued backup cannot run now; nil if it can: then its room is taken until it has its leases, it ends, its
// repository is closed, or PutBack. The reasons are those of RoomForNew. The caller holds Turn.
func (c *Control) RoomFor(b record.Backup) error {
	if q, begun := c.begun[b.ID]; begun && q.Disks != len(b.VM.Disks) { // it has other disks now
		c.PutBack(b.ID, false)
	}
	if c.short[b.ID] { // it tries again; the others pass it meanwhile
		delete(c.short, b.ID)
		c.changed.Store(true)
	}
	s := c.last
	if c.changed.Load() || time.Since(s.at) > surveyAge || c.begun[b.ID].ID != "" {
		var err error
		if s, err = c.begin(); err != nil {
			return err
		}
	}
	if _, begun := c.begun[b.ID]; begun {
		return nil
	}
	q := Queued{ID: b.ID, Repository: b.Repository, Disks: len(b.VM.Disks)}
	return c.why(s, q, Next(s.queue, s.load, c.limits(), s.closedSet(), c.turns)).OrNil()
}

// PutBack gives the room of a queued backup back. short says that there were too few free ports for it: others may pass it until it
// tries again. The caller holds Turn.
func (c *Control) PutBack(id string, short bool) {
	delete(c.begun, id)
	if short {
		c.short[id] = true
	}
	c.changed.Store(true)
}

// Changed says that the answer of RoomFor may be another one now. The caller need not hold Turn.
func (c *Control) Changed() { c.changed.Store(true) }

// begin takes the room for every queued backup that can start now.
func (c *Control) begin() (survey, error) {
	c.changed.Store(false)
	s, err := c.survey()
	if err != nil {
		return s, err
	}
	for limits, closed := c.limits(), s.closedSet(); ; {
		choice := Next(s.queue, s.load, limits, closed, c.turns)
		if !choice.Found {
			break
		}
		c.turns = c.turns.After(choice)
		c.begun[choice.Next.ID] = choice.Next
		s.load = s.load.add(choice.Next)
		s.queue = slices.DeleteFunc(s.queue, func(q Queued) bool { return q.ID == choice.Next.ID })
	}
	c.last = s
	return s, nil
}

func (s survey) closedSet() map[string]bool {
	set := map[string]bool{}
	for repository, closed := range maps.All(s.closed) {
		set[repository] = closed != nil
	}
	return set
}

// why says what a backup in the queue waits for.
func (c *Control) why(s survey, q Queued, choice Choice) *fault.Error {
	limits := c.limits()
	if closed := s.closed[q.Repository]; closed != nil {
		return closed.fault()
	}
	if n := s.before(q); n > 0 {
		return fault.New(fault.Busy, "%d backups are queued for repository %s", n, q.Repository)
	}
	own, running := limits.Repository[q.Repository], s.load.Repository[q.Repository]
	switch {
	case own > 0 && running >= own:
		return fault.New(fault.Busy, "the limit of parallel backups in repository %s is reached: %d are running", q.Repository, running).
			WithHint("raise max_backups of the repository")
	case limits.Backups > 0 && s.load.Backups >= limits.Backups:
		return fault.New(fault.Busy, "the limit of parallel backups is reached: %d are running", s.load.Backups).
			WithHint("raise limits.max_backups")
	case s.load.Exports+q.Disks > limits.Exports:
		return fault.New(fault.Busy, "%d disks are exported; %d more would exceed the limit of %d", s.load.Exports, q.Disks, limits.Exports).
			WithHint("raise limits.max_exports")
	case choice.Kept != "":
		return fault.New(fault.Busy, "room is kept for backup %s, which waits for ports and was passed %d times", choice.Kept, MaxPassed)
	}
	return fault.New(fault.Busy, "it is the turn of another repository")
}

// before counts the backups that are queued before one in the same repository.
func (s survey) before(q Queued) (n int) {
	for _, other := range s.queue {
		if other.ID == q.ID {
			break
		}
		if other.Repository == q.Repository {
			n++
		}
	}
	return n
}
