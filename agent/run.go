package agent

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
)

// A run is the one goroutine that moves an active backup along. Everything else only writes a fact into the record or
// cancels the run, and wakes it; so whichever of end, cancel and failure the run sees first is the only outcome.
type run struct {
	agent  *Agent
	id     string
	vm     string
	ctx    context.Context // ends by a cancel (cause errCancelled) or with the agent (errStopping)
	cancel context.CancelCauseFunc
	wake   chan struct{} // something changed: look again
	look   atomic.Bool   // the units may have changed
	began  time.Time     // when this agent took the run up, or asked the SNA: what deadlines count from
	done   chan struct{} // closed when the run has ended
	meter  meter

	mu       sync.Mutex
	answered chan struct{} // closed once err holds the answer to the start
	err      error
}

// errCancelled is the cause of a run that somebody asked to cancel.
var errCancelled = errors.New("cancelled by request")

func newRun(a *Agent, b backup.Backup) *run {
	r := &run{
		agent: a, id: b.ID, vm: b.VM.Name,
		began: time.Now(),
		wake:  make(chan struct{}, 1), done: make(chan struct{}), answered: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancelCause(a.work)
	r.look.Store(true)
	return r
}

// live is the life of a backup, from whatever state its record is in to its end.
func (r *run) live() {
	defer close(r.done)
	defer r.cancel(nil)
	err := r.begin()
	if err == nil {
		r.answer(nil)
		err = r.follow()
	}
	if err == nil {
		err = r.finish()
	}
	switch {
	case err != nil && r.left(err):
		err = errorf(ShuttingDown, "backup %s goes on, but the agent is stopping: ask for it when the agent is back", r.id)
	case err != nil:
		err = r.undo(err)
	}
	r.answer(err)
}

// left says whether the run ends without an end of the backup: the agent stops while the SNA works, and the exports
// live on until the next agent takes them up.
func (r *run) left(err error) bool {
	if !errors.Is(err, errStopping) {
		return false
	}
	b, err := r.agent.store.Backup(r.id)
	return err == nil && b.State != backup.Preparing && b.State != backup.Exporting
}

// answer gives the caller of the start its answer. Only the first one counts.
func (r *run) answer(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.answered:
	default:
		r.err = err
		close(r.answered)
	}
}

// lookAtUnits wakes the run and has it look at its units.
func (r *run) lookAtUnits() {
	r.look.Store(true)
	r.nudge()
}

// nudge wakes the run.
func (r *run) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// owns says whether a unit is named after this backup.
func (r *run) owns(unit string) bool { return strings.HasPrefix(unit, unitPrefix+r.id+"-disk") }

// sleep waits for a nudge, the time given or the end of the run, whose cause it returns.
func (r *run) sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.wake:
		return nil
	case <-t.C:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}
