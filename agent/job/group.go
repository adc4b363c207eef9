package job

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
)

// ErrStopping is the cause of every job's end when the agent stops. A job undoes nothing that the SNA works on.
var ErrStopping = errors.New("the agent is stopping")

// ErrClosed is the answer to a request that comes while the agent stops.
func ErrClosed() *fault.Error {
	return fault.New(fault.ShuttingDown, "the agent is stopping: try again after the restart")
}

// A jobGroup owns the agent's goroutines: none starts after Close, and Close waits for all of them.
type Group struct {
	Work     context.Context // of ordinary work; its end tells a job to stop where it stands
	stopWork context.CancelCauseFunc
	Hard     context.Context // of work that must reach its end, as an undo; it ends when Close has waited long enough
	stopHard context.CancelFunc

	mu     sync.Mutex
	closed bool
	wait   sync.WaitGroup
}

func NewGroup() *Group {
	g := &Group{}
	g.Work, g.stopWork = context.WithCancelCause(context.Background())
	g.Hard, g.stopHard = context.WithCancel(context.Background())
	return g
}

// IsClosed reports whether close has been called.
func (g *Group) IsClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// Spawn runs f in a goroutine that close waits for. The error is errClosed, after close.
func (g *Group) Spawn(f func()) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed()
	}
	g.wait.Go(f)
	return nil
}

// Close tells all goroutines to stop and waits for them. It returns ctx's error when ctx ends first: a goroutine still hangs, and
// what it uses must not be closed.
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

// Pause waits for d. It returns false when ctx ends first.
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

// A jobSet holds the jobs of one kind that are in progress, by the id of their record.
type Set[T any] struct {
	group *Group
	All   map[string]T // under group.mu
}

func NewSet[T any](g *Group) *Set[T] { return &Set[T]{group: g, All: map[string]T{}} }

// Get returns a job, or the zero value.
func (s *Set[T]) Get(id string) T {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	return s.All[id]
}

// List returns all jobs, by id.
func (s *Set[T]) List() map[string]T {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	all := make(map[string]T, len(s.All))
	for id, job := range s.All {
		all[id] = job
	}
	return all
}

// Launch adds a job and runs live in a goroutine that the group owns. The job is forgotten at its end, after which retired is called.
// The error is errClosed, after the group was closed.
func (s *Set[T]) Launch(id string, job T, live, retired func()) error {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	if s.group.closed {
		return ErrClosed()
	}
	s.All[id] = job
	s.group.wait.Go(func() {
		live()
		s.Forget(id)
		retired()
	})
	return nil
}

// Claim adds the job that make returns, unless there is one of that id: then claimed is false. The caller forgets it. The error is
// errClosed, after the group was closed.
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

// Forget removes a job from the set.
func (s *Set[T]) Forget(id string) {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	delete(s.All, id)
}

// A signal wakes one goroutine. Signals that come before it looks are one.
type Signal chan struct{}

func NewSignal() Signal { return make(Signal, 1) }

func (s Signal) Raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}
