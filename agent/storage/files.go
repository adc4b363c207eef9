package storage

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/overlap"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// Files does the operations of one repository. It is the part that runs in the process of the repository.
type Files struct {
	spec     Spec
	repo     *repository.Repository
	tools    qemu.Tools
	accepted *accepted

	mu      sync.Mutex
	running map[uint64]*running
	limits  map[int64]*rate.Limiter // those that are shared, by bytes per second
}

// A running is an operation in progress.
type running struct {
	cancel context.CancelFunc
	mu     sync.Mutex
	moved  Movement
}

// NewFiles returns the operations of a repository. It does not touch the disk.
func NewFiles(s Spec) *Files {
	f := &Files{
		spec: s, repo: repository.New(s.ID, s.Path, s.Owner), accepted: &accepted{},
		tools:   qemu.Tools{QemuImg: s.QemuImg, Roots: []string{s.Path}, Credential: s.Credential},
		running: map[uint64]*running{}, limits: map[int64]*rate.Limiter{},
	}
	f.repo.Guard(f.accepted)
	return f
}

// do does an operation. It returns when the operation is done, or has noticed that it is canceled.
func (f *Files) do(r Request) Response {
	handler, found := handlers[r.Operation]
	if !found {
		return Response{Error: failure(fmt.Errorf("operation %q is not known: the program was replaced by another version", r.Operation))}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	now := &running{cancel: cancel}
	f.mu.Lock()
	f.running[r.Number] = now
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.running, r.Number)
		f.mu.Unlock()
	}()
	result, err := handler(context.WithValue(ctx, runningKey{}, now), f, r.Arguments)
	now.mu.Lock()
	defer now.mu.Unlock()
	return Response{Result: result, Error: failure(err), Moved: now.moved}
}

// limiter returns the limiter of a read; nil for no limit.
func (f *Files) limiter(l ReadLimit) *rate.Limiter {
	if !l.Shared || l.BytesPerSecond <= 0 {
		return digest.Limit(l.BytesPerSecond)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.limits[l.BytesPerSecond] == nil {
		f.limits[l.BytesPerSecond] = digest.Limit(l.BytesPerSecond)
	}
	return f.limits[l.BytesPerSecond]
}

// cancel tells an operation that nobody waits for it.
func (f *Files) cancel(number uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.running[number]; r != nil {
		r.cancel()
	}
}

// progress returns how far operations have come since the last question.
func (f *Files) progress(numbers []uint64) Moved {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := Moved{}
	for _, n := range numbers {
		if r := f.running[n]; r != nil {
			r.mu.Lock()
			all[n] = r.moved
			r.moved.Bytes = 0
			r.mu.Unlock()
		}
	}
	return all
}

type runningKey struct{}

// moved notes the progress of the operation of a context.
func moved(ctx context.Context, m Movement) {
	r := ctx.Value(runningKey{}).(*running)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved.Bytes += m.Bytes
	r.moved.Read += m.Read
	r.moved.Fraction = m.Fraction
}

// accepted is the directory that the agent has found to be apart from all others. It is the guard of the repository in its process.
type accepted struct {
	mu    sync.Mutex
	inode overlap.Inode
}

// Check refuses a directory that the agent has not accepted yet, with an *overlap.Unknown that describes it.
func (a *accepted) Check(_ overlap.Place, dir *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	a.mu.Lock()
	known := a.inode == overlap.Inode{Dev: st.Dev, Ino: st.Ino}
	a.mu.Unlock()
	if known {
		return nil
	}
	found, err := overlap.IdentityOf(dir)
	if err != nil {
		return err
	}
	return &overlap.Unknown{Identity: found}
}

func (a *accepted) accept(own overlap.Identity) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inode = own.Inode
}

func (f *Files) cancelAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.running {
		r.cancel()
	}
}
