package job

import (
	"context"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/units"
)

// ErrStopping is the cause of every job's end when the agent stops. A job then undoes nothing that the SNA works on.
var ErrStopping = fault.ErrStopping

// ErrClosed returns the error for a request that arrives while the agent stops.
func ErrClosed() *fault.Error {
	return fault.New(fault.ShuttingDown, "the agent is stopping: try again after the restart")
}

// A Group owns the agent's goroutines: none starts after Close, and Close waits for all of them.
type Group struct {
	Work     context.Context // for ordinary work; ends when Close begins: a job stops where it is
	stopWork context.CancelCauseFunc
	Hard     context.Context // for work that must finish, such as an undo; ends when Close stops waiting
	stopHard context.CancelFunc

	mu     sync.Mutex
	closed bool
	wait   sync.WaitGroup
}

// NewGroup returns an open Group.
func NewGroup() *Group {
	g := &Group{}
	g.Work, g.stopWork = context.WithCancelCause(context.Background())
	g.Hard, g.stopHard = context.WithCancel(context.Background())
	return g
}

// IsClosed reports whether Close has been called.
func (g *Group) IsClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// Spawn runs f in a goroutine that Close waits for. After Close it returns ErrClosed.
func (g *Group) Spawn(f func()) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed()
	}
	g.wait.Go(f)
	return nil
}

// Close tells all goroutines to stop and waits for them. It returns the error of ctx when ctx ends first: then a goroutine still hangs,
// and what it uses must not be closed.
func (g *Group) Close(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.stopWork(ErrStopping)
	ended := make(chan struct{})
	go func() {
		g.wait.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		g.stopHard()
		return nil
	case <-ctx.Done():
	}
	g.stopHard()
	select {
	case <-ended:
		return nil
	case <-time.After(time.Second):
		return ctx.Err()
	}
}

// Pause waits for d and returns true. It returns false if ctx ends first.
func Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A Set holds the jobs of one kind that are in progress, by the id of their record.
type Set[T any] struct {
	group *Group
	All   map[string]T // guarded by the mutex of the group
}

// NewSet returns an empty Set.
func NewSet[T any](g *Group) *Set[T] { return &Set[T]{group: g, All: map[string]T{}} }

// Get returns a job, or the zero value if there is none.
func (s *Set[T]) Get(id string) T {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	return s.All[id]
}

// List returns a copy of the map of all jobs, by id.
func (s *Set[T]) List() map[string]T {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	all := make(map[string]T, len(s.All))
	for id, job := range s.All {
		all[id] = job
	}
	return all
}

// Launch adds a job and calls run in a goroutine that the group owns. When run returns, the set forgets the job and calls ended. After
// Close it returns ErrClosed.
func (s *Set[T]) Launch(id string, job T, run, ended func()) error {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	if s.group.closed {
		return ErrClosed()
	}
	s.All[id] = job
	s.group.wait.Go(func() {
		run()
		s.Forget(id)
		ended()
	})
	return nil
}

// Claim adds the job that make returns, and claimed is true. If there already is a job of that id, claimed is false. The caller calls
// Forget at the end. After Close it returns ErrClosed.
func (s *Set[T]) Claim(id string, make func() T) (job T, claimed bool, err error) {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	if s.group.closed {
		return job, false, ErrClosed()
	}
	if _, taken := s.All[id]; taken {
		return job, false, nil
	}
	s.All[id] = make()
	return s.All[id], true, nil
}

// UnitEvent wakes the jobs of a set that an event concerns, and reports whether there is one. unitsOf returns the prefix of the names of a
// record's units.
func UnitEvent[T interface {
	UnitEvent(e units.Event, prefix string) bool
}](s *Set[T], e units.Event, unitsOf func(id string) string) (owned bool) {
	for id, j := range s.List() {
		owned = j.UnitEvent(e, unitsOf(id)) || owned
	}
	return owned
}

// Forget removes a job from the set.
func (s *Set[T]) Forget(id string) {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	delete(s.All, id)
}

// A Signal wakes one goroutine. Signals raised before it looks count as one.
type Signal chan struct{}

// NewSignal returns a Signal that is not raised.
func NewSignal() Signal { return make(Signal, 1) }

// Raise wakes the goroutine that receives from the signal. It never blocks.
func (s Signal) Raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}
