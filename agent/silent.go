package agent

import (
	"cmp"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// heed takes what the SNA knows of a job for what it is: evidence that the request arrived. That it knows nothing is none.
func (r *run) heed(b record.Backup) record.Backup {
	if b.State != record.Unresolved {
		return b
	}
	if said, _ := r.inquiry.answer(); !said.reported {
		return b
	}
	now, err := r.agent.change(r.id, func(b *record.Backup) error {
		if b.State == record.Unresolved {
			b.State, b.AcceptedAt = record.Running, time.Now()
		}
		return nil
	})
	if err != nil {
		r.agent.log.Error("the SNA knows the job, which cannot be recorded yet", logBackupID, r.id, logError, err)
		return b
	}
	return now
}

// checkSilence fails a run whose SBC has not connected and tells the SNA nothing new: one that has ended tells nobody. Where the
// outcome of the request is unknown, silence proves nothing: only deadlines.first_connection counts.
func (r *run) checkSilence(b record.Backup) error {
	if !b.SeenAt.IsZero() {
		return nil
	}
	said, last := r.inquiry.answer()
	limit := r.agent.config.Deadlines.FirstReport.Std()
	if said.reported {
		limit = r.agent.config.Deadlines.NextReport.Std()
	}
	r.inquiry.ask(r.agent.sna, r.id, askEvery(cmp.Or(limit, time.Minute))) // without a deadline too: backup.get shows it
	if b.State != record.Running {
		return nil
	}
	if limit <= 0 || said.same() < limit+moreReaders(b, said) || said.same() < r.agent.slowStart(b) {
		return nil
	}
	if err := r.cameAndWent(b); err != nil {
		return err
	}
	return r.orUnknownDisk(b.VM, silentError(b, said, last))
}

// moreReaders is how much longer SBC may be silent because of its disks: once the snapshot is there it starts one nbdkit per disk, one after
// another, and waits up to readerTime for each (contract §5). The deadline has room for a few.
func moreReaders(b record.Backup, said snaReport) time.Duration {
	const readerTime, few = 10 * time.Second, 4
	if said.word.Phase != phaseSnapshot || said.word.Percent < snapshotMade {
		return 0
	}
	return time.Duration(max(len(b.Runs)-few, 0)) * readerTime
}

// slowStart is how long the SBC of a VM may be silent because that of its newest restore point took so long to connect: twice that
// time. It keeps a VM whose snapshots are slow from failing, without a longer wait for any other.
func (a *Agent) slowStart(b record.Backup) time.Duration {
	point, found, err := a.store.LatestCompleted(b.VM.Name, b.Repository)
	if err != nil || !found || point.CalledAt.IsZero() || point.SeenAt.IsZero() {
		return 0
	}
	return 2 * point.SeenAt.Sub(point.CalledAt) // a clock that was set between makes no harm: first_connection counts too
}

// What SBC reports while the snapshot is made: the phase, and the percentage once it is there (decision 23).
const (
	phaseSnapshot = "Creating Snapshot"
	snapshotMade  = 15
)

func silentError(b record.Backup, said snaReport, last clientWord) error {
	silence := said.same().Round(time.Second)
	var e *Error
	switch {
	case !said.reported && last != (clientWord{}):
		e = errorf(ClientSilent, "backup %s: no client has connected, and for %s the SNA has known nothing of the job; before that it said: %s",
			b.ID, silence, last)
		e.Hint = "the SNA was restarted meanwhile, which ends most clients: look at its log, then start again. " + snapshotHint(b)
	case !said.reported:
		e = errorf(ClientSilent, "backup %s: no client has connected, and for %s the client has reported nothing to the SNA", b.ID, silence)
		e.Hint = "a wrong vCenter password, an unknown VM path or a vCenter that is unreachable are the usual reasons; the SNA's log has the " +
			"client's words. Raise deadlines.first_report if the vCenter only was slow"
	case said.word.Phase == phaseSnapshot && said.word.Percent < snapshotMade:
		e = errorf(ClientSilent, "backup %s: no client has connected, and for %s the client has said: %s", b.ID, silence, said.word)
		e.Hint = "the vCenter refused the quiesced snapshot, is slow to make it, or still removes one that an earlier backup left: look at the " +
			"VM's tasks in the vCenter. Raise deadlines.next_report if this VM's snapshots take longer"
	default:
		e = errorf(ClientSilent, "backup %s: no client has connected, and for %s the client has said: %s", b.ID, silence, said.word)
		e.Hint = fmt.Sprintf("the snapshot was made, and the client did not come to read it: look at the SNA's log for nbdkit and VDDK, and for "+
			"the tunnel of the exports (deadlines.next_report). %s", snapshotHint(b))
	}
	e.BackupID = b.ID
	return e
}

// snapshotHint says where a snapshot may be left. SBC names it after the job (decision 23).
func snapshotHint(b record.Backup) string {
	return "Snapshot " + b.SnapshotName() + " may be left on the VM"
}
