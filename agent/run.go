package agent

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// A run is the one goroutine that moves an active backup along. Everything else only writes a fact into the record or
// cancels the run, and wakes it; so whichever of end, cancel and failure the run sees first is the only outcome.
type run struct {
	life    // a cancel has the cause errCancelled
	agent   *Agent
	vm      string
	began   time.Time // when this agent took the run up, or asked the SNA: what deadlines count from
	meter   meter
	inquiry inquiry
	doom    error       // why nothing is done for the backup but to undo it; nil for any other
	changed atomic.Bool // the record may be another than the one that was read last

	finisher  *finisher
	presence  presence
	asked     atomic.Bool  // SBC has asked about its next disk, as it does before it connects
	reporting atomic.Int32 // reports of SBC that are being recorded: it waits for the answer, so it lives
}

// errCancelled is the cause of a run that somebody asked to cancel.
var errCancelled = errors.New("cancelled by request")

func newRun(a *Agent, b record.Backup) *run {
	r := &run{agent: a, vm: b.VM.Name, began: time.Now()}
	r.start(a.jobs, a.log, b.ID, logBackupID)
	r.finisher = a.newFinisher(&r.life)
	return r
}

// live is the life of a backup, from whatever state its record is in to its end.
func (r *run) live() {
	defer close(r.done)
	defer r.cancel(nil)
	err := r.doom
	if err == nil {
		err = r.begin()
	}
	if err == nil {
		r.answer(nil)
		err = r.follow()
	}
	if err == nil {
		err = r.finisher.finish()
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
	if err != nil {
		return false
	}
	fate, _ := record.FateOf(b, "")
	return fate != record.FateUndo
}
