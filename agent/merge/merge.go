// Package merge merges restore points. A restore point takes in what those below it hold, so that they can be deleted, or becomes a
// synthetic full backup. Package prune decides which are merged.
package merge

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/sendense/backup-agent/agent/admission"
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
	Gate          *admission.Gate
	Chains        *chain.Chains
	Verifications *verify.Service
	Jobs          *job.Group
	Log           *slog.Logger
	Metrics       *metrics.Counters
}

// A Service merges restore points. Its methods may be called from any goroutine.
type Service struct {
	Parts
	Active *job.Set[*Merge]               // one for every restore point that is being merged
	slots  map[string]*semaphore.Weighted // of 1, by repository; held while a merge makes images, never while it waits
	turns  uint64                         // given so far; only claim uses it
}

// New returns a Service without merges.
func New(p Parts) *Service {
	s := &Service{Parts: p, Active: job.NewSet[*Merge](p.Jobs), slots: map[string]*semaphore.Weighted{}}
	for _, r := range p.Config.Repositories {
		s.slots[r.ID] = semaphore.NewWeighted(1)
	}
	return s
}

// A Merge is the job that gives a restore point a new parent: an ancestor further down, so that those between can be deleted, or
// none, which makes a full backup. The job makes new images in a directory beside that of the restore point, checks them, compares
// them with the old images, and syncs them. Then one step of the file system exchanges the two directories, or two renames do. This is
// the commit of the merge: before it the restore point is unchanged, after it the restore point is merged. Between two renames both are
// complete, and nobody reads them. See docs/decisions/0018-retention-and-merge.md and docs/decisions/0039-commit-without-exchange.md.
type Merge struct {
	job.Job   // a cancel has the cause errCancelled
	service   *Service
	newParent string
	settling  bool            // it only completes or cleans up an interrupted merge
	turn      uint64          // merges of one chain are done in this order
	chain     map[string]bool // the restore point and all that it was based on when it was claimed
	Parked    chan struct{}   // closed when the job first waits for a reader or an earlier merge

	mu       sync.Mutex
	phase    string
	fraction float64
	waitsFor string // what the job waits for, while phase is phaseWaiting
}

// The phases of a merge.
const (
	phaseWaiting   = "waiting" // for another merge, or for readers of the restore point
	phaseMerging   = "merging"
	phaseComparing = "comparing"
	phaseSwapping  = "swapping"
)

// errCancelled is the cause of a merge that was canceled by request.
var errCancelled = errors.New("cancelled by request")

// Progress is the progress of one merge.
type Progress struct {
	Onto     string // the new parent; "" = none, a full backup
	Phase    string
	Fraction float64 // 0 to 1, estimated
	WaitsFor string  // a reader of the restore point, or an earlier merge; "" = it does not wait
}

// SyntheticFull makes an incremental a full backup: it merges it with all that it is based on. Its content is unchanged, and it has
// no parent any more. SyntheticFull returns when the merge ends. For a full backup it does nothing and returns no error.
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

// Progress returns the progress of the merge of a restore point; false if none is in progress.
func (s *Service) Progress(id string) (Progress, bool) {
	w := s.Active.Get(id)
	if w == nil || w.settling {
		return Progress{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return Progress{Onto: w.newParent, Phase: w.phase, Fraction: w.fraction, WaitsFor: w.waitsFor}, true
}

func (w *Merge) progress(phase string, fraction float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase, w.fraction, w.waitsFor = phase, max(fraction, w.fraction), ""
}

// merge gives a restore point a new parent, and waits until that is done. The job continues when ctx ends.
func (s *Service) merge(ctx context.Context, id, newParent string) error {
	w, err := s.Launch(id, newParent)
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

// Launch starts the job, or finds the one that does the same. None starts while the repository is paused or does not answer.
func (s *Service) Launch(id, newParent string) (*Merge, error) {
	points, err := s.chainSet(id)
	if err != nil {
		return nil, err
	}
	if s.Active.Get(id) == nil {
		if err := s.mayStart(id); err != nil {
			return nil, err
		}
	}
	w, err := s.claim(id, newParent, points, false)
	if err != nil || w == nil {
		return s.same(id, newParent, err)
	}
	err = s.Jobs.Spawn(func() {
		defer s.drop(w)
		w.Answer(w.run())
	})
	if err != nil {
		s.drop(w)
		return nil, err
	}
	return w, nil
}

// mayStart fails if the repository of a restore point is not configured or closed.
func (s *Service) mayStart(id string) error {
	b, err := s.Records.Backup(id)
	if err != nil {
		return err
	}
	if _, err := s.Repositories.Find(b.Repository); err != nil {
		return err
	}
	return s.Gate.Check(b.Repository)
}

// same returns the active job of a restore point if it has that new parent.
func (s *Service) same(id, newParent string, err error) (*Merge, error) {
	w := s.Active.Get(id)
	if err != nil || w != nil && w.newParent == newParent && !w.settling {
		return w, err
	}
	return nil, fault.New(fault.Busy, "a merge of backup %s is in progress", id).OfBackup(id).WithHint("wait until it ends")
}

// claim makes sure that one job at a time uses the directory beside that of a restore point. It returns nil if another job has
// claimed it.
func (s *Service) claim(id, newParent string, points map[string]bool, settling bool) (*Merge, error) {
	w, _, err := s.Active.Claim(id, func() *Merge {
		s.turns++
		w := &Merge{
			service: s, newParent: newParent, settling: settling, phase: phaseWaiting, turn: s.turns, chain: points, Parked: make(chan struct{}),
		}
		w.Start(s.Jobs, s.Log, id, job.Backup)
		return w
	})
	return w, err
}

func (s *Service) drop(w *Merge) {
	s.Active.Forget(w.ID)
	w.Cancel(nil)
	close(w.Done)
}

// run is the whole job: it waits for earlier merges of the chain, copies, waits for readers, and commits.
func (w *Merge) run() error {
	a := w.service
	if err := w.awaitTurn(); err != nil {
		return w.causeOr(err)
	}
	start := time.Now()
	p, err := w.copy(start)
	if p == nil {
		return w.causeOr(err)
	}
	if err == nil {
		err = w.finish(p)
	}
	if err != nil {
		err = w.failed(err)
	}
	if err == nil {
		a.Metrics.Merges.WithLabelValues("done").Inc()
		a.Log.Info("merge completed", logkey.BackupID, w.ID, logkey.Onto, w.newParent, "took", time.Since(start))
		return nil
	}
	a.Metrics.Merges.WithLabelValues("failed").Inc()
	return err
}

// failed cleans up after a merge that failed. It returns nil if the merge is done after all: a server may have committed it although its
// answer was lost.
func (w *Merge) failed(err error) error {
	a := w.service
	err = w.causeOr(err)
	if left := a.settle(w.ID); left != nil {
		a.Log.Error("merge failed", logkey.BackupID, w.ID, logkey.Onto, w.newParent, logkey.Error, err)
		a.Log.Error("the leftovers of a merge cannot be removed yet", logkey.BackupID, w.ID, logkey.Error, left)
		return err
	}
	if b, storeErr := a.Store.Backup(w.ID); storeErr == nil && b.State == record.Completed && b.Parent == w.newParent {
		a.Log.Warn("a merge is done in spite of an error", logkey.BackupID, w.ID, logkey.Onto, w.newParent, logkey.Error, err)
		return nil
	}
	a.Log.Error("merge failed; the restore point is unchanged", logkey.BackupID, w.ID, logkey.Onto, w.newParent, logkey.Error, err)
	return err
}

// copy makes the new images. One merge of a repository at a time copies: two would only compete for the disk. The plan is nil when copy
// has made and recorded nothing.
func (w *Merge) copy(start time.Time) (*plan, error) {
	a := w.service
	b, err := a.Records.Backup(w.ID)
	if err != nil {
		return nil, err
	}
	slot := a.slots[b.Repository]
	if err := slot.Acquire(w.Ctx, 1); err != nil {
		return nil, err
	}
	defer slot.Release(1)
	p, err := w.plan()
	if err != nil {
		return nil, err
	}
	failpoint.Reach("rewrite: before the record")
	_, err = a.Records.Change(w.ID, func(b *record.Backup) error {
		b.Merge = &record.Merge{NewParent: w.newParent, StartedAt: start}
		return nil
	})
	if err != nil {
		return nil, Refused(w.ID, err)
	}
	a.Log.Info("merge started", logkey.BackupID, w.ID, logkey.Onto, w.newParent, logkey.VM, p.point.VM.Name)
	return p, w.build(p)
}

// causeOr returns the cause for which the job was canceled, or else err.
func (w *Merge) causeOr(err error) error {
	switch cause := context.Cause(w.Ctx); {
	case cause == nil:
		return err
	case errors.Is(cause, errCancelled):
		return fault.New(fault.WrongState, "backup %s: the merge was canceled; the restore point is unchanged", w.ID).OfBackup(w.ID)
	case errors.Is(cause, job.ErrStopping):
		return job.ErrClosed()
	default:
		return cause
	}
}

// Refused translates an error of the store into the error for the caller.
func Refused(id string, err error) error {
	var (
		read    *store.ReadError
		merging *store.MergingError
		state   *store.StateError
		parent  *store.ParentError
		damaged *store.DamagedError
	)
	var e *fault.Error
	switch {
	case errors.As(err, &read):
		e = fault.New(fault.BeingRestored, "%w", read)
		e.Hint = "wait until it ends, or stop it"
	case errors.As(err, &merging):
		e = fault.New(fault.Busy, "%w", merging)
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

// commit is the commit of the merge. It records that the commit begins, so that no new reader starts, and replaces the directory. The
// error is a store.ReadError when the restore point is being read, and ErrMidMerge when the commit is begun and must be completed.
func (w *Merge) commit(p *plan) error {
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
	if err := p.repo.CommitMerge(w.service.Jobs.Work, p.vm, p.manifest); err != nil {
		return repositories.Fault(err)
	}
	failpoint.Reach("rewrite: exchanged")
	return nil
}

// Cancel cancels the merge of a restore point, and reports whether there was one. The merge may complete before the cancel takes effect.
func (s *Service) Cancel(ctx context.Context, id string) (bool, error) {
	w := s.Active.Get(id)
	if w == nil || w.settling {
		return false, nil
	}
	if err := w.End(ctx, errCancelled); err != nil {
		return true, job.StillCancelling(id, err)
	}
	return true, nil
}
