package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/repository/overlap"
)

// RequestTimeout limits an operation that reads little, if somebody waits for an answer of the agent.
const RequestTimeout = 4 * time.Second

// maxPending limits the operations in progress of one repository. Each holds a thread of its process while the file system hangs.
const maxPending = 64

const (
	connectTimeout = 30 * time.Second // limits the start of the process
	connectPause   = time.Second      // after a start that failed
)

type patience int

const (
	failFast   patience = iota + 1 // until the repository is stuck, or RequestTimeout
	untilStuck                     // until the repository is stuck
)

type patienceKey struct{}

// FailFast is for the operations of a request that somebody waits for: they fail with a StuckError as soon as the repository is stuck, and
// those that read little after RequestTimeout.
func FailFast(ctx context.Context) context.Context {
	return context.WithValue(ctx, patienceKey{}, failFast)
}

// UntilStuck is for the operations that clean up: they may take long, but fail with a StuckError as soon as the repository is stuck.
func UntilStuck(ctx context.Context) context.Context {
	if ctx.Value(patienceKey{}) != nil {
		return ctx
	}
	return context.WithValue(ctx, patienceKey{}, untilStuck)
}

// WhileAnswering returns a context that ends with a StuckError as its cause when the repository is stuck. It is for waits for something
// else that the storage delays, such as the end of an exporter.
func (r *calls) WhileAnswering(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	r.number++
	number := r.number
	if r.stuck != nil {
		cancel(r.stuck)
	} else {
		r.waiting[number] = cancel
	}
	r.mu.Unlock()
	return ctx, func() {
		r.mu.Lock()
		delete(r.waiting, number)
		r.mu.Unlock()
		cancel(nil)
	}
}

// A pending is an operation in progress.
type pending struct {
	name   string
	class  class
	began  time.Time
	cancel context.CancelCauseFunc // for a caller without patience; nil for others, and when the caller has left
}

// call asks the process of the repository for an operation. It asks again if the process did not know yet that the directory is apart
// from the others.
func call(ctx context.Context, r *Repository, name string, c class, arguments []byte, moved func(Movement)) ([]byte, error) {
	result, err := r.callOnce(ctx, name, c, arguments, moved)
	var unknown *overlap.Unknown
	if !errors.As(err, &unknown) {
		return result, err
	}
	if r.guard != nil {
		if err := r.guard.Decide(r.Place(), unknown.Identity); err != nil {
			return nil, fmt.Errorf("repository %s: %w", r.ID, err)
		}
	}
	if err := opAccept.tell(ctx, r, unknown.Identity); err != nil {
		return nil, err
	}
	return r.callOnce(ctx, name, c, arguments, moved)
}

func (r *calls) callOnce(ctx context.Context, name string, c class, arguments []byte, moved func(Movement)) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	number, err := r.begin(ctx, name, c, cancel)
	if err != nil {
		return nil, err
	}
	if ctx.Value(patienceKey{}) == failFast && c == reads {
		defer time.AfterFunc(RequestTimeout, func() { cancel(r.lateError(number)) }).Stop()
	}
	link, err := r.connected(ctx)
	if err != nil {
		r.end(number)
		return nil, err
	}
	var progress sync.Mutex // held during a call of moved, and when the caller leaves
	left := false
	if moved != nil {
		tell := moved
		moved = func(m Movement) {
			progress.Lock()
			defer progress.Unlock()
			if !left {
				tell(m)
			}
		}
	}
	answers := link.Start(Request{Number: number, Operation: name, Arguments: arguments}, moved)
	select {
	case a := <-answers:
		r.end(number)
		if a.Err != nil {
			return nil, fmt.Errorf("repository %s: %s: its process has ended: %w", r.options.ID, name, a.Err)
		}
		return a.Result, a.Error.err()
	case <-ctx.Done():
		progress.Lock()
		left = true
		progress.Unlock()
		link.Cancel(number)
		r.leave(number)
		go func() {
			<-answers
			r.end(number)
		}()
		return nil, context.Cause(ctx)
	}
}

// begin puts an operation on the list of those in progress. It fails at once if the repository is stuck and the caller has no patience,
// or if too many operations wait for it.
func (r *calls) begin(ctx context.Context, name string, c class, cancel context.CancelCauseFunc) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	impatient := ctx.Value(patienceKey{}) != nil
	if r.stuck != nil && impatient {
		return 0, r.stuck
	}
	if len(r.pending) >= maxPending && c != probes {
		return 0, &StuckError{Repository: r.options.ID, Since: r.oldest().began, Operation: fmt.Sprintf("%s, and %d other operations", r.oldest().name, len(r.pending)-1)}
	}
	if !impatient {
		cancel = nil
	}
	r.number++
	r.pending[r.number] = &pending{name: name, class: c, began: time.Now(), cancel: cancel}
	return r.number, nil
}

// leave notes that the caller of an operation has left.
func (r *calls) leave(number uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.pending[number]; p != nil {
		p.cancel = nil
	}
}

// end takes an operation from the list.
func (r *calls) end(number uint64) {
	r.mu.Lock()
	p := r.pending[number]
	delete(r.pending, number)
	took := time.Since(p.began)
	if p.class.slow(took) {
		r.slow = time.Now()
	}
	r.mu.Unlock()
	r.options.Observe(p.class.kind(), took)
	r.judge()
}

// connected returns the link to the process, which it starts if it does not run.
func (r *calls) connected(ctx context.Context) (Link, error) {
	r.mu.Lock()
	l := r.link
	r.mu.Unlock()
	if l != nil && !isDone(l) {
		return l, nil
	}
	started := r.connecting.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		return r.connect(ctx)
	})
	select {
	case s := <-started:
		if s.Err != nil {
			return nil, fmt.Errorf("repository %s: its process cannot be started: %w", r.options.ID, s.Err)
		}
		return s.Val.(Link), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (r *calls) connect(ctx context.Context) (Link, error) {
	r.mu.Lock()
	l, closed, refused, waits := r.link, r.closed, r.refused, time.Since(r.triedAt) < connectPause
	r.mu.Unlock()
	switch {
	case refused != nil && waits:
		return nil, refused
	case closed:
		return nil, errors.New("the agent stops")
	case l != nil && !isDone(l):
		return l, nil // it was started meanwhile
	}
	l, err := r.options.Connect(ctx, r.options.Spec)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused, r.triedAt = err, time.Now(); err != nil {
		return nil, err
	}
	if r.closed {
		_ = l.Close()
		return nil, errors.New("the agent stops")
	}
	r.link = l
	return l, nil
}

func isDone(l Link) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}
