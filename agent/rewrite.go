package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// A rewriting is the one goroutine that puts a restore point on other ground: an ancestor further down, so that those between
// can go, or nothing, as a full backup. New images are made in a directory beside the restore point's, checked, compared with
// the old ones, and brought to the disk. Then the two directories are exchanged, in one step of the file system, which is the
// commit: before it the restore point is what it was, after it what it is to be, and nothing lies between.
// See docs/decisions/0018-retention.md.
type rewriting struct {
	life     // a cancel has the cause errRewriteCancelled
	agent    *Agent
	onto     string
	settling bool            // it only brings an earlier one to its end
	turn     uint64          // rewritings of one chain are done in this order
	chain    map[string]bool // the restore point and all that it stood on when it was claimed
	parked   chan struct{}   // closed once somebody has to be waited for: a reader, or an earlier rewriting

	mu       sync.Mutex
	phase    string
	fraction float64
	waitsFor string // who reads the restore point, while phase is rewriteWaiting
}

// The phases of a rewriting.
const (
	rewriteWaiting   = "waiting" // for another one, or for whoever reads the restore point
	rewriteMerging   = "merging"
	rewriteComparing = "comparing"
	rewriteSwapping  = "swapping"
)

// errRewriteCancelled is the cause of a rewriting that somebody asked to cancel.
var errRewriteCancelled = errors.New("cancelled by request")

// RewriteProgress is how far a restore point's rewriting has come.
type RewriteProgress struct {
	Onto     string // the restore point it will stand on; "" = on nothing
	Phase    string
	Fraction float64 // 0 to 1, estimated
	WaitsFor string  // who reads the restore point, or what is done first; "" = nobody is waited for
}

// Consolidate makes a full backup of an incremental and all that it stands on: what it holds stays as it is, and it stands on
// nothing any more. It returns when that is done. To consolidate a full backup is no error, and does nothing.
func (a *Agent) Consolidate(ctx context.Context, id string) (record.Backup, error) {
	b, err := a.Backup(id)
	if err != nil {
		return b, err
	}
	if b.State == record.Completed && b.Parent == "" {
		return b, nil
	}
	if err := a.rewrite(ctx, id, ""); err != nil {
		return b, err
	}
	return a.Backup(id)
}

// RewriteProgress tells how far the rewriting of a restore point has come; false if there is none under way.
func (a *Agent) RewriteProgress(id string) (RewriteProgress, bool) {
	w := a.rewrites.get(id)
	if w == nil || w.settling {
		return RewriteProgress{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return RewriteProgress{Onto: w.onto, Phase: w.phase, Fraction: w.fraction, WaitsFor: w.waitsFor}, true
}

func (w *rewriting) progress(phase string, fraction float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase, w.fraction, w.waitsFor = phase, max(fraction, w.fraction), ""
}

// rewrite puts a restore point on other ground and waits for the end of that. It goes on whatever becomes of ctx.
func (a *Agent) rewrite(ctx context.Context, id, onto string) error {
	w, err := a.launchRewrite(id, onto)
	if err != nil {
		return err
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// launchRewrite starts the goroutine, or finds the one that does the same.
func (a *Agent) launchRewrite(id, onto string) (*rewriting, error) {
	chain, err := a.chainSet(id)
	if err != nil {
		return nil, err
	}
	w, err := a.claimRewrite(id, onto, chain, false)
	if err != nil || w == nil {
		return a.sameRewrite(id, onto, err)
	}
	err = a.jobs.spawn(func() {
		defer a.dropRewrite(w)
		w.answer(w.live())
	})
	if err != nil {
		a.dropRewrite(w)
		return nil, err
	}
	return w, nil
}

func (a *Agent) sameRewrite(id, onto string, err error) (*rewriting, error) {
	w := a.rewrites.get(id)
	if err != nil || w != nil && w.onto == onto && !w.settling {
		return w, err
	}
	e := errorf(Busy, "backup %s is being written anew", id)
	e.BackupID, e.Hint = id, "wait for the end of that"
	return nil, e
}

// claimRewrite makes sure that one goroutine at a time has to do with the directory beside a restore point's; nil if another
// has.
func (a *Agent) claimRewrite(id, onto string, chain map[string]bool, settling bool) (*rewriting, error) {
	w, _, err := a.rewrites.claim(id, func() *rewriting {
		a.rewriteTurns++
		w := &rewriting{
			agent: a, onto: onto, settling: settling, phase: rewriteWaiting, turn: a.rewriteTurns, chain: chain, parked: make(chan struct{}),
		}
		w.start(a.jobs, a.log, id, logBackupID)
		return w
	})
	return w, err
}

func (a *Agent) dropRewrite(w *rewriting) {
	a.rewrites.forget(w.id)
	w.cancel(nil)
	close(w.done)
}

// live is the life of a rewriting: its turn in the chain, the copy, the wait for readers, the exchange.
func (w *rewriting) live() error {
	a := w.agent
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
		a.metrics.rewrites.WithLabelValues("done").Inc()
		a.log.Info("restore point was written anew", logBackupID, w.id, logOnto, w.onto, "took", time.Since(start))
		return nil
	}
	a.metrics.rewrites.WithLabelValues("failed").Inc()
	err = w.unless(err)
	a.log.Error("restore point cannot be written anew, and stays what it was", logBackupID, w.id, logOnto, w.onto, logError, err)
	if left := a.settle(w.id); left != nil {
		a.log.Error("what is left of it cannot be removed yet", logBackupID, w.id, logError, left)
	}
	return err
}

// copy makes the new images. One rewriting at a time copies: two would only take each other's disk. The plan is nil when nothing
// was begun.
func (w *rewriting) copy(start time.Time) (*rewritePlan, error) {
	a := w.agent
	if err := a.merging.Acquire(w.ctx, 1); err != nil {
		return nil, err
	}
	defer a.merging.Release(1)
	p, err := w.plan()
	if err != nil {
		return nil, err
	}
	failpoint.Reach("rewrite: before the record")
	_, err = a.change(w.id, func(b *record.Backup) error {
		b.Merge = &record.Merge{NewParent: w.onto, StartedAt: start}
		return nil
	})
	if err != nil {
		return nil, rewriteRefused(w.id, err)
	}
	a.log.Info("restore point is written anew", logBackupID, w.id, logOnto, w.onto, logVM, p.point.VM.Name)
	return p, w.build(p)
}

// unless is the cause for which the rewriting ends, if it was ended, and otherwise the error.
func (w *rewriting) unless(err error) error {
	switch cause := context.Cause(w.ctx); {
	case cause == nil:
		return err
	case errors.Is(cause, errRewriteCancelled):
		e := errorf(WrongState, "backup %s: its rewriting was cancelled, and it is what it was", w.id)
		e.BackupID = w.id
		return e
	case errors.Is(cause, errStopping):
		return errClosed()
	default:
		return cause
	}
}

// rewriteRefused translates what the store says into what the caller is told.
func rewriteRefused(id string, err error) error {
	var (
		read      *store.ReadError
		rewriting *store.MergingError
		state     *store.StateError
		parent    *store.ParentError
		damaged   *store.DamagedError
	)
	var e *Error
	switch {
	case errors.As(err, &read):
		e = errorf(BeingRestored, "%w", read)
		e.Hint = "wait for the end of that, or stop it"
	case errors.As(err, &rewriting):
		e = errorf(Busy, "%w", rewriting)
	case errors.As(err, &state):
		e = errorf(WrongState, "backup %s is %s: only one that is completed is a restore point", id, state.State)
	case errors.As(err, &parent):
		e = errorf(WrongState, "backup %s cannot be put on other ground: %w", id, parent)
	case errors.As(err, &damaged):
		return damagedGround(id, &damageError{err: damaged})
	default:
		return AsError(notFound(err))
	}
	e.BackupID = id
	return e
}

// exchange writes down that the directories are being exchanged, after which nobody begins to read the restore point, and does it.
// The error is a store.ReadError when somebody reads it.
func (w *rewriting) exchange(p *rewritePlan) error {
	failpoint.Reach("rewrite: before nobody may read")
	_, err := w.agent.change(w.id, func(b *record.Backup) error {
		b.Merge.Committing = true
		return nil
	})
	failpoint.Reach("rewrite: nobody may read")
	var read *store.ReadError
	if errors.As(err, &read) {
		return err
	}
	if err != nil {
		return rewriteRefused(w.id, err)
	}
	w.progress(rewriteSwapping, 1)
	failpoint.Reach("rewrite: before the exchange")
	if err := p.repo.CommitMerge(p.vm, p.manifest); err != nil {
		return repositoryError(err)
	}
	failpoint.Reach("rewrite: exchanged")
	return nil
}

// cancelRewrite ends the rewriting of a restore point, and says whether there was one. It may be done when it is cancelled.
func (a *Agent) cancelRewrite(ctx context.Context, id string) (bool, error) {
	w := a.rewrites.get(id)
	if w == nil || w.settling {
		return false, nil
	}
	w.cancel(errRewriteCancelled)
	select {
	case <-w.done:
		return true, nil
	case <-ctx.Done():
		return true, stillCancelling(id, ctx.Err())
	}
}

// steadily tries again for a while what is refused because a restore point is being exchanged, which takes no longer than a disk
// takes to sync, or because the parent that was chosen has been deleted, or found damaged, since: then another one is found, or none.
func (a *Agent) steadily(f func() error) error {
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := f()
		var rewriting *store.MergingError
		var parent *store.ParentError
		var damaged *store.DamagedError
		moved := errors.As(err, &rewriting) || errors.As(err, &parent) || errors.As(err, &damaged)
		if !moved || time.Now().After(deadline) || !pause(a.jobs.work, 100*time.Millisecond) {
			return err
		}
	}
}
