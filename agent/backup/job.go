package backup

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/sendense/backup-agent/agent/backup/progress"
	"github.com/sendense/backup-agent/agent/client"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/publish"
	"github.com/sendense/backup-agent/agent/record"
)

// A Job is the one goroutine that moves an active backup along. Everything else only writes a fact into the record or cancels
// the job, and wakes it. So there is one outcome: the end, the cancel or the failure that the job sees first.
type Job struct {
	job.Job  // a cancel has the cause errCancelled
	service  *Service
	vm       string
	began    time.Time // when this agent started the job, or asked the SNA: deadlines count from it
	meter    progress.Meter
	inquiry  client.Inquiry
	waitsFor atomic.Pointer[string] // what it waits for in the queue; nil if it is not queued
	startErr error                  // why the start failed and the job only undoes the backup; nil if it did not
	changed  atomic.Bool            // the record may have changed since it was last read

	finisher  *publish.Finisher
	presence  client.Presence
	asked     atomic.Bool  // SBC asked about its next disk, as it does before it connects
	reporting atomic.Int32 // reports of SBC that are being recorded: it waits for the answer, so it is not gone
}

// errCancelled is the cause of a backup that was canceled by request.
var errCancelled = errors.New("cancelled by request")

// Asks says that SBC asks about a disk, as it does before it connects.
func (j *Job) Asks() { j.asked.Store(true) }

// Reporting says that a report of SBC is being recorded, until the caller calls done.
func (j *Job) Reporting() (done func()) {
	j.reporting.Add(1)
	return func() { j.reporting.Add(-1) }
}

// Reported says that a report of SBC is on record.
func (j *Job) Reported() {
	j.asked.Store(false)
	j.Nudge()
}

// Settled reports whether it is too late for SBC to ask about one more disk. Every disk of the backup is reported.
func (j *Job) Settled() bool { return j.finisher.QuestionDue() <= 0 }

// Tell keeps what SBC reports about itself. b is the record at that time: the report is about the disk after those that are complete.
func (j *Job) Tell(b record.Backup, t record.Telemetry) {
	j.meter.Tell(b, t)
}

func newJob(s *Service, b record.Backup) *Job {
	j := &Job{service: s, vm: b.VM.Name, began: time.Now()}
	j.Start(s.Jobs, s.Log, b.ID, job.Backup)
	j.finisher = s.Publish.NewFinisher(&j.Job)
	return j
}

// run moves a backup from the state in its record to its end.
func (j *Job) run() {
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

// handedOver says whether the job ends before the backup does: the agent stops while the SNA works, and the exports stay up until
// the next agent takes over the backup.
func (j *Job) handedOver(err error) bool {
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
