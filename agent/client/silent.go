package client

import (
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// MoreReaders is how much longer SBC may be silent because of its disks: once the snapshot is there it starts one nbdkit per disk, one after
// another, and waits up to readerTime for each (contract §5). The deadline has room for a few.
func MoreReaders(b record.Backup, said Report) time.Duration {
	const readerTime, few = 10 * time.Second, 4
	if said.word.Phase != phaseSnapshot || said.word.Percent < snapshotMade {
		return 0
	}
	return time.Duration(max(len(b.Runs)-few, 0)) * readerTime
}

// What SBC reports while the snapshot is made: the phase, and the percentage once it is there (decision 23).
const (
	phaseSnapshot = "Creating Snapshot"
	snapshotMade  = 15
)

func SilentError(b record.Backup, said Report, last Word) error {
	silence := said.Same().Round(time.Second)
	var e *fault.Error
	switch {
	case !said.Reported && last != (Word{}):
		e = fault.New(fault.ClientSilent, "backup %s: no client has connected, and for %s the SNA has not known the job; its last report was: %s",
			b.ID, silence, last)
		e.Hint = "the SNA was restarted, which ends most clients. Read its log, then start again. " + snapshotHint(b)
	case !said.Reported:
		e = fault.New(fault.ClientSilent, "backup %s: no client has connected, and for %s the client has reported nothing to the SNA", b.ID, silence)
		e.Hint = "the usual reasons are a wrong vCenter password, an unknown VM path or an unreachable vCenter. The SNA's log has the " +
			"client's output. Raise deadlines.first_report if the vCenter is only slow"
	case said.word.Phase == phaseSnapshot && said.word.Percent < snapshotMade:
		e = fault.New(fault.ClientSilent, "backup %s: no client has connected, and for %s the client has reported: %s", b.ID, silence, said.word)
		e.Hint = "the vCenter refused the quiesced snapshot, makes it slowly, or still removes the snapshot of an earlier backup. Check the " +
			"VM's tasks in the vCenter. Raise deadlines.next_report if this VM's snapshots take longer"
	default:
		e = fault.New(fault.ClientSilent, "backup %s: no client has connected, and for %s the client has reported: %s", b.ID, silence, said.word)
		e.Hint = fmt.Sprintf("the snapshot was made, but the client did not connect. Check the SNA's log for nbdkit and VDDK, and "+
			"the tunnel of the exports (deadlines.next_report). %s", snapshotHint(b))
	}
	e.BackupID = b.ID
	return e
}

// snapshotHint says where a snapshot may be left. SBC names it after the job (decision 23).
func snapshotHint(b record.Backup) string {
	return "Snapshot " + b.SnapshotName() + " may be left on the VM"
}
