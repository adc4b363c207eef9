package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/repository/overlap"
)

// RequestTimeout limits an operation that reads little, if somebody waits for an answer of the agent.
const RequestTimeout = 4 * time.Second

// ErrClosed is the error of an operation that arrives while the agent stops.
var ErrClosed = errors.New("the agent stops")

// maxPending limits the operations in progress of one repository: those that are short, and those that read or write whole images. Each
// holds a thread of its process while the file system hangs.
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

// call asks the process of a repository for an operation. It asks again if the process did not know yet that the directory is apart
// from the others, or if what is mounted has changed since the process started.
func call(ctx context.Context, r *Repository, name string, c class, arguments []byte, moved func(Movement)) ([]byte, error) {
	result, err := r.callOnce(ctx, name, c, arguments, moved)
	if errors.Is(err, unix.EROFS) && r.renew() {
		result, err = r.callOnce(ctx, name, c, arguments, moved)
	}
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
	result, err = r.callOnce(ctx, name, c, arguments, moved)
	if errors.Is(err, unix.EROFS) && r.renew() {
		return call(ctx, r, name, c, arguments, moved)
	}
	return result, err
}

func (r *calls) callOnce(ctx context.Context, name string, c class, arguments []byte, moved func(Movement)) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if ctx.Value(patienceKey{}) == failFast && c == reads {
		defer r.hurry(ctx, name, cancel)()
	}
	leave, err := r.enter(ctx, c, cancel)
	if err != nil {
		return nil, err
	}
	link, err := r.connected(ctx)
	if err != nil {
		leave()
		return nil, err
	}
	number := r.begin(ctx, name, c, cancel)
	progress := &listener{moved: moved}
	answers := link.Start(Request{Number: number, Operation: name, Arguments: arguments}, progress.tell())
	select {
	case a := <-answers:
		r.end(number)
		leave()
		if a.Err != nil {
			return nil, fmt.Errorf("repository %s: %s: its process has ended: %w", r.options.ID, name, a.Err)
		}
		return a.Result, a.Error.err()
	case <-ctx.Done():
		progress.leave()
		link.Cancel(number)
		r.leave(number)
		go func() { // it keeps its place until it ends
			<-answers
			r.end(number)
			leave()
		}()
		return nil, context.Cause(ctx)
	}
}

// A listener gets the progress of an operation until its caller leaves.
type listener struct {
	mu    sync.Mutex
	moved func(Movement) // nil: nobody listens
}

// tell returns the function that is called with the progress; nil if nobody listens.
func (l *listener) tell() func(Movement) {
	if l.moved == nil {
		return nil
	}
	return func(m Movement) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.moved != nil {
			l.moved(m)
		}
	}
}

func (l *listener) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moved = nil
}

// enter waits until an operation may begin: only so many are in progress at a time. It fails at once if the repository is stuck and the
// caller has no patience.
func (r *calls) enter(ctx context.Context, c class, cancel context.CancelCauseFunc) (leave func(), err error) {
	if ctx.Value(patienceKey{}) != nil {
		r.mu.Lock()
		if stuck := r.stuck; stuck != nil {
			r.mu.Unlock()
			return nil, stuck
		}
		r.number++
		number := r.number
		r.waiting[number] = cancel // it may become stuck meanwhile
		r.mu.Unlock()
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.waiting, number)
		}()
	}
	if c == probes {
		return func() {}, nil
	}
	places := r.short
	if c == endless {
		places = r.long
	}
	if places.Acquire(ctx, 1) != nil {
		return nil, context.Cause(ctx)
	}
	return func() { places.Release(1) }, nil
}

// begin puts an operation on the list of those in progress.
func (r *calls) begin(ctx context.Context, name string, c class, cancel context.CancelCauseFunc) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Value(patienceKey{}) == nil {
		cancel = nil
	}
	r.number++
	r.pending[r.number] = &pending{name: name, class: c, began: time.Now(), cancel: cancel}
	return r.number
}

// hurry cancels an operation that reads little after RequestTimeout, or later if the machine is so busy that the process answers nothing.
// It ends with ctx, or when stop is called.
func (r *calls) hurry(ctx context.Context, name string, cancel context.CancelCauseFunc) (stop func() bool) {
	began := time.Now()
	return time.AfterFunc(RequestTimeout, func() {
		tick := time.NewTicker(RequestTimeout / 16)
		defer tick.Stop()
		for !r.late(began, RequestTimeout) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		cancel(&StuckError{Repository: r.options.ID, Since: began, Operation: name})
	}).Stop
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
		return nil, ErrClosed
	case l != nil && !isDone(l):
		return l, nil // it was started meanwhile
	}
	number := r.begin(ctx, "starting its process", reads, nil)
	l, err := r.options.Connect(ctx, r.options.Spec)
	r.mu.Lock()
	delete(r.pending, number)
	if again := r.link != nil || r.refused != nil; again && err == nil {
		defer r.options.OnChange() // what the last process left behind can be removed
	}
	defer r.mu.Unlock()
	if r.refused, r.triedAt = err, time.Now(); err != nil {
		return nil, err
	}
	if r.closed {
		_ = l.Close()
		return nil, ErrClosed
	}
	r.link = l
	return l, nil
}

// renewEvery is how often the process is replaced because of a file system that is read-only.
const renewEvery = 10 * time.Minute

// renewIdle is how often it is replaced if no operation on whole images is in progress, which would end with it.
const renewIdle = time.Second

// reading reports whether an operation on whole images is in progress. The caller holds mu.
func (r *calls) reading() bool {
	for _, p := range r.pending {
		if p.class == endless {
			return true
		}
	}
	return false
}

// renew ends the process if what is mounted may have changed since it started: it sees the directory as it was then, writable or not. It
// reports whether another process may see it differently.
func (r *calls) renew() bool {
	now, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || !r.options.separate {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := renewEvery
	if !r.reading() {
		wait = renewIdle
	}
	if r.link == nil || string(now) == r.mounts && time.Since(r.renewedAt) < wait {
		return false
	}
	r.mounts, r.renewedAt = string(now), time.Now()
	_ = r.link.Close()
	r.link = nil
	return true
}

func isDone(l Link) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}
