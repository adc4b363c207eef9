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
type backupJob struct {
	job.Job // a cancel has the cause errCancelled
	service *Service
	vm      string
	began   time.Time // when this agent took the run up, or asked the SNA: what deadlines count from
	meter   meter
	inquiry client.Inquiry
	startErr    error       // why nothing is done for the backup but to undo it; nil for any other
	changed atomic.Bool // the record may be another than the one that was read last

	finisher  *publish.Finisher
	presence  client.Presence
	asked     atomic.Bool  // SBC has asked about its next disk, as it does before it connects
	reporting atomic.Int32 // reports of SBC that are being recorded: it waits for the answer, so it lives
}

// errCancelled is the cause of a run that somebody asked to cancel.
var errCancelled = errors.New("cancelled by request")

func newJob(s *Service, b record.Backup) *backupJob {
	j := &backupJob{service: s, vm: b.VM.Name, began: time.Now()}
	j.Start(s.Jobs, s.Log, b.ID, logkey.BackupID)
	j.finisher = s.Publish.NewFinisher(&j.Job)
	return j
}

// live is the life of a backup, from whatever state its record is in to its end.
func (j *backupJob) run() {
	defer close(j.Done)
	defer j.Cancel(nil)
	err := j.startErr
	if err == nil {
		err = j.begin()
	}
	if err == nil {
		j.Answer(nil)
		err = j.follow()
	}
	if err == nil {
		err = j.finisher.Finish()
	}
	switch {
	case err != nil && j.handedOver(err):
		err = fault.New(fault.ShuttingDown, "backup %s continues while the agent restarts: ask for it after the restart", j.ID)
	case err != nil:
		err = j.undo(err)
	}
	j.Answer(err)
}

// left says whether the run ends without an end of the backup: the agent stops while the SNA works, and the exports
// live on until the next agent takes them up.
func (j *backupJob) handedOver(err error) bool {
	if !errors.Is(err, job.ErrStopping) {
		return false
	}
	b, err := j.service.Store.Backup(j.ID)
	if err != nil {
		return false
	}
	fate, _ := record.FateOf(b, "")
	return fate != record.FateUndo
}
