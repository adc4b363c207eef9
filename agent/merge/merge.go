// Package merge merges restore points: one takes in what those below it hold, so that they can go, or becomes a synthetic full backup. It
// does not decide which: see package prune.
package merge

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/agent/verify"
)

// Parts are what a Service works with.
type Parts struct {
	Config        *config.Config
	Store         *store.Store
	Records       *ledger.Ledger
	Repositories  *repositories.Set
	Chains        *chain.Chains
	Verifications *verify.Service
	Jobs          *job.Group
	Log           *slog.Logger
	Metrics       *metrics.Counters
}

// A Service merges restore points. Its methods may be called from any goroutine.
type Service struct {
	Parts
	Active *job.Set[*Merge]    // one for every restore point that is being merged
	slot   *semaphore.Weighted // of 1, held while images are made, and never while a merge waits
	turns  uint64              // given so far; used in claim alone
}

// New returns a Service that has nothing to do yet.
func New(p Parts) *Service {
	return &Service{Parts: p, Active: job.NewSet[*Merge](p.Jobs), slot: semaphore.NewWeighted(1)}
}

// A rewriting is the one goroutine that puts a restore point on other ground: an ancestor further down, so that those between
// can go, or nothing, as a full backup. New images are made in a directory beside the restore point's, checked, compared with
// the old ones, and brought to the disk. Then the two directories are exchanged, in one step of the file system, which is the
// commit: before it the restore point is what it was, after it what it is to be, and nothing lies between.
// See docs/decisions/0018-retention-and-merge.md.
type Merge struct {
	job.Job  // a cancel has the cause errRewriteCancelled
	service  *Service
	onto     string
	settling bool            // it only brings an earlier one to its end
	turn     uint64          // rewritings of one chain are done in this order
	chain    map[string]bool // the restore point and all that it stood on when it was claimed
	Parked   chan struct{}   // closed once somebody has to be waited for: a reader, or an earlier rewriting

	mu       sync.Mutex
	phase    string
	fraction float64
	waitsFor string // who reads the restore point, while phase is rewriteWaiting
}

// The phases of a rewriting.
const (
	phaseWaiting   = "waiting" // for another one, or for whoever reads the restore point
	phaseMerging   = "merging"
	phaseComparing = "comparing"
	phaseSwapping  = "swapping"
)

// errCancelled is the cause of a rewriting that somebody asked to cancel.
var errCancelled = errors.New("cancelled by request")

// Progress is how far a restore point's rewriting has come.
type Progress struct {
	Onto     string // the restore point it will stand on; "" = on nothing
	Phase    string
	Fraction float64 // 0 to 1, estimated
	WaitsFor string  // who reads the restore point, or what is done first; "" = nobody is waited for
}

// SyntheticFull makes a full backup of an incremental and all that it stands on: what it holds stays as it is, and it stands on
// nothing any more. It returns when that is done. To consolidate a full backup is no error, and does nothing.
func (s *Service) SyntheticFull(ctx context.Context, id string) (record.Backup, error) {
	b, err := s.Records.Backup(id)
	if err != nil {
		return b, err
	}
	if b.State == record.Completed && b.Parent == "" {
		return b, nil
	}
	if err := s.merge(ctx, id, ""); err != nil {
		return b, err
	}
	return s.Records.Backup(id)
}

// Progress tells how far the rewriting of a restore point has come; false if there is none under way.
func (s *Service) Progress(id string) (Progress, bool) {
	w := s.Active.Get(id)
	if w == nil || w.settling {
		return Progress{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return Progress{Onto: w.onto, Phase: w.phase, Fraction: w.fraction, WaitsFor: w.waitsFor}, true
}

func (w *Merge) progress(phase string, fraction float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase, w.fraction, w.waitsFor = phase, max(fraction, w.fraction), ""
}

// merge puts a restore point on other ground and waits for the end of that. It goes on whatever becomes of ctx.
func (s *Service) merge(ctx context.Context, id, onto string) error {
	w, err := s.Launch(id, onto)
	if err != nil {
		return err
	}
	select {
	case <-w.Done:
		return w.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Launch starts the goroutine, or finds the one that does the same.
func (s *Service) Launch(id, onto string) (*Merge, error) {
	points, err := s.chainSet(id)
	if err != nil {
		return nil, err
	}
	w, err := s.claim(id, onto, points, false)
	if err != nil || w == nil {
		return s.same(id, onto, err)
	}
	err = s.Jobs.Spawn(func() {
		defer s.drop(w)
		w.Answer(w.live())
	})
	if err != nil {
		s.drop(w)
		return nil, err
	}
	return w, nil
}

func (s *Service) same(id, onto string, err error) (*Merge, error) {
	w := s.Active.Get(id)
	if err != nil || w != nil && w.onto == onto && !w.settling {
		return w, err
	}
	e := fault.New(fault.Busy, "a merge of backup %s is in progress", id)
	e.BackupID, e.Hint = id, "wait until it ends"
	return nil, e
}

// claim makes sure that one goroutine at a time has to do with the directory beside a restore point's; nil if another
// has.
func (s *Service) claim(id, onto string, points map[string]bool, settling bool) (*Merge, error) {
	w, _, err := s.Active.Claim(id, func() *Merge {
		s.turns++
		w := &Merge{
			service: s, onto: onto, settling: settling, phase: phaseWaiting, turn: s.turns, chain: points, Parked: make(chan struct{}),
		}
		w.Start(s.Jobs, s.Log, id, logkey.BackupID)
		return w
	})
	return w, err
}

func (s *Service) drop(w *Merge) {
	s.Active.Forget(w.ID)
	w.Cancel(nil)
	close(w.Done)
}

// live is the life of a rewriting: its turn in the chain, the copy, the wait for readers, the exchange.
func (w *Merge) live() error {
	a := w.service
	if err := w.awaitTurn(); err != nil {
		return w.unless(err)
	}
	start := time.Now()
	p, err := w.copy(start)
	if p == nil {
		return w.unless(err)
	}
	if err == nil {
		err = w.swap(p)
	}
	if err == nil {
		a.Metrics.Rewrites.WithLabelValues("done").Inc()
		a.Log.Info("merge completed", logkey.BackupID, w.ID, logkey.Onto, w.onto, "took", time.Since(start))
		return nil
	}
	a.Metrics.Rewrites.WithLabelValues("failed").Inc()
	err = w.unless(err)
	a.Log.Error("merge failed; the restore point is unchanged", logkey.BackupID, w.ID, logkey.Onto, w.onto, logkey.Error, err)
	if left := a.settle(w.ID); left != nil {
		a.Log.Error("the leftovers of a merge cannot be removed yet", logkey.BackupID, w.ID, logkey.Error, left)
	}
	return err
}

// copy makes the new images. One rewriting at a time copies: two would only take each other's disk. The plan is nil when nothing
// was begun.
func (w *Merge) copy(start time.Time) (*plan, error) {
	a := w.service
	if err := a.slot.Acquire(w.Ctx, 1); err != nil {
		return nil, err
	}
	defer a.slot.Release(1)
	p, err := w.plan()
	if err != nil {
		return nil, err
	}
	failpoint.Reach("rewrite: before the record")
	_, err = a.Records.Change(w.ID, func(b *record.Backup) error {
		b.Merge = &record.Merge{NewParent: w.onto, StartedAt: start}
		return nil
	})
	if err != nil {
		return nil, Refused(w.ID, err)
	}
	a.Log.Info("merge started", logkey.BackupID, w.ID, logkey.Onto, w.onto, logkey.VM, p.point.VM.Name)
	return p, w.build(p)
}

// unless is the cause for which the rewriting ends, if it was ended, and otherwise the error.
func (w *Merge) unless(err error) error {
	switch cause := context.Cause(w.Ctx); {
	case cause == nil:
		return err
	case errors.Is(cause, errCancelled):
		e := fault.New(fault.WrongState, "backup %s: the merge was canceled; the restore point is unchanged", w.ID)
		e.BackupID = w.ID
		return e
	case errors.Is(cause, job.ErrStopping):
		return job.ErrClosed()
	default:
		return cause
	}
}

// Refused translates what the store says into what the caller is told.
func Refused(id string, err error) error {
	var (
		read      *store.ReadError
		rewriting *store.MergingError
		state     *store.StateError
		parent    *store.ParentError
		damaged   *store.DamagedError
	)
	var e *fault.Error
	switch {
	case errors.As(err, &read):
		e = fault.New(fault.BeingRestored, "%w", read)
		e.Hint = "wait until it ends, or stop it"
	case errors.As(err, &rewriting):
		e = fault.New(fault.Busy, "%w", rewriting)
	case errors.As(err, &state):
		e = fault.New(fault.WrongState, "backup %s is %s: only a completed backup is a restore point", id, state.State)
	case errors.As(err, &parent):
		e = fault.New(fault.WrongState, "backup %s cannot be merged: %w", id, parent)
	case errors.As(err, &damaged):
		return damagedChain(id, &chain.Damage{Err: damaged})
	default:
		return fault.From(ledger.NotFound(err))
	}
	e.BackupID = id
	return e
}

// exchange writes down that the directories are being exchanged, after which nobody begins to read the restore point, and does it.
// The error is a store.ReadError when somebody reads it.
func (w *Merge) exchange(p *plan) error {
	failpoint.Reach("rewrite: before nobody may read")
	_, err := w.service.Records.Change(w.ID, func(b *record.Backup) error {
		b.Merge.Committing = true
		return nil
	})
	failpoint.Reach("rewrite: nobody may read")
	var read *store.ReadError
	if errors.As(err, &read) {
		return err
	}
	if err != nil {
		return Refused(w.ID, err)
	}
	w.progress(phaseSwapping, 1)
	failpoint.Reach("rewrite: before the exchange")
	if err := p.repo.CommitMerge(p.vm, p.manifest); err != nil {
		return repositories.Fault(err)
	}
	failpoint.Reach("rewrite: exchanged")
	return nil
}

// Cancel ends the rewriting of a restore point, and says whether there was one. It may be done when it is cancelled.
func (s *Service) Cancel(ctx context.Context, id string) (bool, error) {
	w := s.Active.Get(id)
	if w == nil || w.settling {
		return false, nil
	}
	w.Cancel(errCancelled)
	select {
	case <-w.Done:
		return true, nil
	case <-ctx.Done():
		return true, job.StillCancelling(id, ctx.Err())
	}
}
