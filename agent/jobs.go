package agent

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errStopping is the cause of every job's end when the agent stops. A job undoes nothing that the SNA works on.
var errStopping = errors.New("the agent is stopping")

// errClosed is the answer to a request that comes while the agent stops.
func errClosed() *Error {
	return errorf(ShuttingDown, "the agent is stopping: ask again when it is back")
}

// A jobGroup owns the agent's goroutines: none starts after Close, and Close waits for all of them.
type jobGroup struct {
	work     context.Context // of ordinary work; its end tells a job to stop where it stands
	stopWork context.CancelCauseFunc
	hard     context.Context // of work that must reach its end, as an undo; it ends when Close has waited long enough
	stopHard context.CancelFunc

	mu     sync.Mutex
	closed bool
	wait   sync.WaitGroup
}

func newJobGroup() *jobGroup {
	g := &jobGroup{}
	g.work, g.stopWork = context.WithCancelCause(context.Background())
	g.hard, g.stopHard = context.WithCancel(context.Background())
	return g
}

// isClosed reports whether close has been called.
func (g *jobGroup) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// spawn runs f in a goroutine that close waits for. The error is errClosed, after close.
func (g *jobGroup) spawn(f func()) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errClosed()
	}
	g.wait.Go(f)
	return nil
}

// close tells all goroutines to stop and waits for them. It returns ctx's error when ctx ends first: a goroutine still hangs, and
// what it uses must not be closed.
func (g *jobGroup) close(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.stopWork(errStopping)
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

// pause waits for d. It returns false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
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
type jobSet[T any] struct {
	group *jobGroup
	all   map[string]T // under group.mu
}

func newJobSet[T any](g *jobGroup) *jobSet[T] { return &jobSet[T]{group: g, all: map[string]T{}} }

// get returns a job, or the zero value.
func (s *jobSet[T]) get(id string) T {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	return s.all[id]
}

// list returns all jobs, by id.
func (s *jobSet[T]) list() map[string]T {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	all := make(map[string]T, len(s.all))
	for id, job := range s.all {
		all[id] = job
	}
	return all
}

// launch adds a job and runs live in a goroutine that the group owns. The job is forgotten at its end, after which retired is called.
// The error is errClosed, after the group was closed.
func (s *jobSet[T]) launch(id string, job T, live, retired func()) error {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	if s.group.closed {
		return errClosed()
	}
	s.all[id] = job
	s.group.wait.Go(func() {
		live()
		s.forget(id)
		retired()
	})
	return nil
}

// claim adds the job that make returns, unless there is one of that id: then claimed is false. The caller forgets it. The error is
// errClosed, after the group was closed.
func (s *jobSet[T]) claim(id string, make func() T) (job T, claimed bool, err error) {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	if s.group.closed {
		return job, false, errClosed()
	}
	if _, taken := s.all[id]; taken {
		return job, false, nil
	}
	s.all[id] = make()
	return s.all[id], true, nil
}

// forget removes a job from the set.
func (s *jobSet[T]) forget(id string) {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	delete(s.all, id)
}

// A signal wakes one goroutine. Signals that come before it looks are one.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}
