package repositories

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A Reader says for what an image is read whole. Each has slots of its own in each repository, so none waits for another.
type Reader int

// The readers.
const (
	EndOfBackup Reader = iota // a backup waits for it, and its client for the snapshot
	Restoring                 // a person waits for it
	Background                // verifications and merges: they may be limited in rate and take days
	readers
)

// slotsOf is how many images of one repository are read whole at once, by reader. Each read needs 8 MiB of memory. For the end of backups
// a tuner finds the number out.
var slotsOf = [readers]int{Restoring: 2, Background: 2}

// maxSecondReads limits the memory of background reads: so many repositories at once have more than one. One is always free for each
// repository, so that a slow one delays no other.
const maxSecondReads = 4

// reads are the slots for reading images whole. Who waits for one is served first in, first out, for each reader and repository.
type reads struct {
	mu      sync.Mutex
	taken   map[slot]int
	tuners  map[string]*tuner // by repository
	second  int               // background reads beyond the first one of their repositories
	waiting []*turn
}

// A slot is what a reader takes in a repository.
type slot struct {
	repository string
	reader     Reader
}

// A turn is one that waits for a slot.
type turn struct {
	slot
	free chan struct{} // closed when it has the slot
}

func newReads() *reads { return &reads{taken: map[slot]int{}, tuners: map[string]*tuner{}} }

// acquire waits for a slot, and returns what gives it back. The error is the cause of ctx.
func (r *reads) acquire(ctx context.Context, repository string, reader Reader) (release func(), err error) {
	t := &turn{slot{repository, reader}, make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, t)
	r.serve()
	r.mu.Unlock()
	select {
	case <-t.free:
		return func() { r.release(t) }, nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.waiting, t); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	} else { // it was served just now
		r.back(t.slot)
	}
	r.serve()
	return nil, context.Cause(ctx)
}

func (r *reads) release(t *turn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.back(t.slot)
	r.serve()
}

// serve gives slots to those who wait, in their order.
func (r *reads) serve() {
	r.waiting = slices.DeleteFunc(r.waiting, func(t *turn) bool {
		if !r.fits(t.slot) {
			return false
		}
		if r.isSecond(t.slot) {
			r.second++
		}
		r.taken[t.slot]++
		close(t.free)
		return true
	})
}

func (r *reads) fits(s slot) bool {
	return r.taken[s] < r.slots(s) && (!r.isSecond(s) || r.second < maxSecondReads)
}

// slots is how many reads a reader has in a repository at once.
func (r *reads) slots(s slot) int {
	if s.reader != EndOfBackup {
		return slotsOf[s.reader]
	}
	return r.tuner(s.repository).limit
}

func (r *reads) tuner(repository string) *tuner {
	if r.tuners[repository] == nil {
		r.tuners[repository] = newTuner()
	}
	return r.tuners[repository]
}

// noted notes bytes that one of the reads at the end of backups has read, without holes.
func (r *reads) noted(repository string, bytes int64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, t := slot{repository, EndOfBackup}, r.tuner(repository)
	waits := slices.ContainsFunc(r.waiting, func(w *turn) bool { return w.slot == s })
	t.read(bytes, waits && r.taken[s] == t.limit, now)
	r.serve()
}

// isSecond says whether one more read counts for maxSecondReads.
func (r *reads) isSecond(s slot) bool { return s.reader == Background && r.taken[s] > 0 }

func (r *reads) back(s slot) {
	if r.taken[s]--; r.isSecond(s) {
		r.second--
	}
}
