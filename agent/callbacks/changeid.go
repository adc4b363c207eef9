package callbacks

import (
	"time"

	"github.com/sendense/backup-agent/agent/client"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd/sockets"
)

// Answer is the answer to SBC's question from which change id to copy. An empty ChangeID means a full copy.
type Answer struct {
	VMName, ChangeID, BackupID, Message string
	DiskID                              int
}

// ChangeID answers SBC's question from which change id it may copy a disk. SBC decides by the answer alone. It names the VM by the
// last segment of its inventory path, does not name the job, and asks about "disk 0" for every disk until it has connected
// (contract §5). So client.Attribute finds out which backup asks, from what is in progress. A wrong guess costs a copy of the whole
// disk: before it connects, SBC compares the UUID in the answer with that of the disk, and its questions after that name the disk.
// A full backup gets no change id, because with one it would hold only the changes.
func (s *Service) ChangeID(vmName string, diskID int) (Answer, error) {
	answer := Answer{VMName: vmName, DiskID: diskID}
	if vmName == "" {
		return answer, fault.New(fault.InvalidRequest, "vm_name is missing")
	}
	named, err := s.Questions.Asking(vmName)
	if err != nil {
		return answer, err
	}
	clients, err := sockets.Clients()
	if err != nil {
		s.Log.Warn("cannot read the clients of the exports", logkey.VM, vmName, logkey.Error, err)
		clients = nil
	}
	q := client.Attribute(named, diskID, clients, s.settled)
	for _, id := range q.Over {
		s.unknownDisk(id)
	}
	if q.Backup != nil && !q.Exact {
		if j := s.Backups.Job(q.Backup.ID); j != nil {
			j.Asks()
		}
	}
	switch {
	case len(named) == 0:
		answer.Message = "no backup of this VM is in progress: copy everything"
	case len(q.Over) > 0:
		answer.ChangeID, answer.Message = client.UnreadableID, "all disks on record are complete: there is no export for another disk"
	case q.Backup == nil:
		answer.ChangeID, answer.Message = client.UnreadableID, "several backups of VMs with this name are in progress: copy everything"
	case q.Backup.Type != record.Incremental:
		answer.BackupID, answer.Message = q.Backup.ID, "this is a full backup: copy everything"
	default:
		return s.changeIDOf(answer, q)
	}
	return answer, nil
}

// changeIDOf answers a question of an incremental. It records that SBC copies changes before SBC gets the answer. Without that
// record the disk counts as copied whole.
func (s *Service) changeIDOf(answer Answer, q client.Question) (Answer, error) {
	answer.BackupID = q.Backup.ID
	d := q.Backup.Run(q.Disk)
	if d == nil || d.ParentChangeID == "" {
		answer.Message = "this disk is not in the parent: copy everything"
		if q.Exact {
			answer.ChangeID = client.UnreadableID // it would have copied changes
		}
		return answer, nil
	}
	if q.Exact && !d.AsChanges {
		failpoint.Reach("before changes are asked for")
		_, err := s.changeUntilRecorded(q.Backup.ID, func(b *record.Backup) error {
			d := b.Run(q.Disk)
			if !client.Underway(b.State) || d == nil {
				return fault.New(fault.WrongState, "backup %s is %s: nothing can be copied", b.ID, b.State)
			}
			d.AsChanges = true
			return client.Seen(b)
		})
		if err != nil {
			return answer, fault.From(ledger.NotFound(err))
		}
		failpoint.Reach("changes asked for")
	}
	answer.ChangeID = d.ParentChangeID
	answer.Message = "copy what changed since " + q.Backup.Parent
	return answer, nil
}

// unknownDisk records that SBC asked about a disk that has no export, and ends the job.
func (s *Service) unknownDisk(id string) {
	b, err := s.changeUntilRecorded(id, func(b *record.Backup) error {
		if !client.MayAsk(*b) || !b.AllComplete() {
			return fault.New(fault.WrongState, "backup %s is %s", id, b.State)
		}
		if b.UnknownDiskAt.IsZero() {
			b.UnknownDiskAt = time.Now()
		}
		return nil
	})
	if err != nil {
		s.Log.Warn("a question about an unknown disk came too late", logkey.BackupID, id, logkey.Error, err)
		return
	}
	failpoint.Reach("unknown disk recorded")
	if j := s.Backups.Job(id); j != nil {
		j.Cancel(s.Questions.OrNamesake(b, client.DiskUnknown(b)))
	}
}

// settled reports whether it is too late for SBC to ask about one more disk of a backup.
func (s *Service) settled(id string) bool {
	j := s.Backups.Job(id)
	return j != nil && j.Settled()
}
