package storage

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/overlap"
)

// A Spec is what the process of a repository must know.
type Spec struct {
	ID, Path   string              // Path is absolute
	Owner      *repository.Owner   // of the directories of backups; nil: the agent's own user
	QemuImg    string              // path of qemu-img
	Credential *syscall.Credential // runs qemu-img and owns images; nil: the agent's own user
}

// A Link leads to the process of one repository. Its methods may be called from any goroutine.
type Link interface {
	// Start asks for an operation. The channel gets the answer once: the response, or why the process cannot answer. moved is called with
	// the progress; it may be nil.
	Start(r Request, moved func(Movement)) <-chan Answer
	// Cancel tells the process that nobody waits for an operation any more. The answer still comes.
	Cancel(number uint64)
	// Done is closed when the process has ended, or cannot be reached any more.
	Done() <-chan struct{}
	// Close ends the link and the process, and with it all operations. It does not wait for them.
	Close() error
}

// An Answer is what became of a Request.
type Answer struct {
	Response
	Err error // why there is no Response
}

// Connect starts the process of a repository and returns the link to it.
type Connect func(ctx context.Context, s Spec) (Link, error)

// Options for New.
type Options struct {
	Spec
	// Connect is called before the first operation, and again when the process has ended. Nil: the operations run in goroutines of the
	// calling process.
	Connect Connect
	// OnChange is called when the repository becomes stuck, and when it answers again. It must not block. May be nil.
	OnChange func()
	// Observe is called with the time that each operation took, and its kind: one of Kinds. May be nil.
	Observe func(kind string, took time.Duration)
	Logger  *slog.Logger // nil: slog.Default()

	separate bool // Connect starts a process
}

// A Repository is one configured directory with backups. It may be unreachable at times, as a network file system is; every method
// checks that again. Its methods are safe for concurrent use. They touch the files by the process of the repository only.
type Repository struct {
	ID   string
	Path string // absolute

	*calls
	guard *overlap.Guard // nil: it is alone
}

// calls are the operations of a repository in progress, and the link to the process that does them.
type calls struct {
	options    Options
	log        *slog.Logger
	connecting singleflight.Group

	mu       sync.Mutex
	link     Link // nil before the first operation
	closed   bool
	refused  error     // why the process could not be started at the last attempt
	triedAt  time.Time // when that was
	number   uint64
	pending  map[uint64]*pending
	waiting  map[uint64]context.CancelCauseFunc // see WhileAnswering
	stuck    *StuckError                        // nil: it answers
	slow     time.Time                          // when an operation was slow last
	unusable error                              // of the last probe
	pong     time.Time                          // when the last ping was sent that the process has answered

	mounts    string // what was mounted when the process was replaced because of that
	renewedAt time.Time

	short, long *semaphore.Weighted // places for operations in progress
}

// New describes a repository; it does not touch the disk.
func New(o Options) *Repository {
	o.Path = filepath.Clean(o.Path)
	o.separate = o.Connect != nil
	if o.Connect == nil {
		o.Connect = func(_ context.Context, s Spec) (Link, error) { return newLocal(s), nil }
	}
	if o.OnChange == nil {
		o.OnChange = func() {}
	}
	if o.Observe == nil {
		o.Observe = func(string, time.Duration) {}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Repository{ID: o.ID, Path: o.Path, calls: &calls{
		options: o, log: o.Logger, pending: map[uint64]*pending{}, waiting: map[uint64]context.CancelCauseFunc{},
		short: semaphore.NewWeighted(maxPending), long: semaphore.NewWeighted(maxPending),
	}}
}

// Close ends the process of the repository. It waits for nothing that hangs.
func (r *calls) Close() error {
	r.mu.Lock()
	l := r.link
	r.link, r.closed = nil, true
	r.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.Close()
}

// Place is the directory of the repository, with a name for people.
func (r *Repository) Place() overlap.Place {
	return overlap.Place{Name: fmt.Sprintf("repository %q", r.ID), Path: r.Path}
}

// KeepApart makes repositories check before they are used that they and some other directories are different, and that none lies
// inside another.
func KeepApart(list []*Repository, others ...overlap.Place) {
	places, byPlace := make([]overlap.Place, len(list)), map[overlap.Place]*Repository{}
	for i, r := range list {
		places[i] = r.Place()
		byPlace[places[i]] = r
	}
	guard := overlap.NewGuard(places, others)
	guard.Look = func(p overlap.Place) (overlap.Identity, error) {
		if r := byPlace[p]; r != nil {
			return opIdentify.of(FailFast(context.Background()), r, none{})
		}
		return overlap.Look(p.Path)
	}
	for _, r := range list {
		r.guard = guard
	}
}

// Apart compares repositories and other directories with each other, as overlap.Find does: by the processes of the repositories. It takes a
// few seconds at most.
func Apart(ctx context.Context, list []*Repository, others ...overlap.Place) (away []error, err error) {
	places, byPlace := slices.Clone(others), map[overlap.Place]*Repository{}
	for _, r := range list {
		places = append(places, r.Place())
		byPlace[r.Place()] = r
	}
	look := func(p overlap.Place) (overlap.Identity, error) {
		if r := byPlace[p]; r != nil {
			return opIdentify.of(FailFast(ctx), r, none{})
		}
		return overlap.Look(p.Path)
	}
	twins := func(a, b overlap.Place) bool {
		r := byPlace[b]
		if r == nil {
			return false // the directory of the database lies on a local disk
		}
		is, err := opTwins.of(FailFast(ctx), r, a.Path)
		return err == nil && is
	}
	return overlap.FindBy(places, look, twins)
}

var (
	opTwins = declare("comparing it with another directory", reads, func(_ context.Context, f *Files, other string) (bool, error) {
		return overlap.Twins(f.spec.Path, other), nil
	})
	opIdentify = declare("finding its directory", reads, func(_ context.Context, f *Files, _ none) (overlap.Identity, error) {
		return overlap.Identify(f.spec.Path)
	})
	opAccept = act("accepting its directory", reads, func(f *Files, own overlap.Identity) error {
		f.accepted.accept(own)
		return nil
	})
)
