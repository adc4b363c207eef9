package backup

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/sendense/backup-agent/agent/client"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/publish"
	"github.com/sendense/backup-agent/agent/record"
)

// A run is the one goroutine that moves an active backup along. Everything else only writes a fact into the record or
// cancels the run, and wakes it; so whichever of end, cancel and failure the run sees first is the only outcome.
type run struct {
	job.Job // a cancel has the cause errCancelled
	service *Service
	vm      string
	began   time.Time // when this agent took the run up, or asked the SNA: what deadlines count from
	meter   meter
	inquiry client.Inquiry
	doom    error       // why nothing is done for the backup but to undo it; nil for any other
	changed atomic.Bool // the record may be another than the one that was read last

	finisher  *publish.Finisher
	presence  client.Presence
	asked     atomic.Bool  // SBC has asked about its next disk, as it does before it connects
	reporting atomic.Int32 // reports of SBC that are being recorded: it waits for the answer, so it lives
}

// errCancelled is the cause of a run that somebody asked to cancel.
var errCancelled = errors.New("cancelled by request")

func newRun(a *Service, b record.Backup) *run {
	r := &run{service: a, vm: b.VM.Name, began: time.Now()}
	r.Start(a.Jobs, a.Log, b.ID, logkey.BackupID)
	r.finisher = a.Publish.NewFinisher(&r.Job)
	return r
}

// live is the life of a backup, from whatever state its record is in to its end.
func (r *run) live() {
	defer close(r.Done)
	defer r.Cancel(nil)
	err := r.doom
	if err == nil {
		err = r.begin()
	}
	if err == nil {
		r.Answer(nil)
		err = r.follow()
	}
	if err == nil {
		err = r.finisher.Finish()
	}
	switch {
	case err != nil && r.left(err):
		err = fault.New(fault.ShuttingDown, "backup %s continues while the agent restarts: ask for it after the restart", r.ID)
	case err != nil:
		err = r.undo(err)
	}
	r.Answer(err)
}

// left says whether the run ends without an end of the backup: the agent stops while the SNA works, and the exports
// live on until the next agent takes them up.
func (r *run) left(err error) bool {
	if !errors.Is(err, job.ErrStopping) {
		return false
	}
	b, err := r.service.Store.Backup(r.ID)
	if err != nil {
		return false
	}
	fate, _ := record.FateOf(b, "")
	return fate != record.FateUndo
}
