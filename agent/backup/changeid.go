package backup

import (
	"log/slog"
	"time"

	"github.com/sendense/backup-agent/agent/client"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd/sockets"
)

// ClientParts are what Clients works with.
type ClientParts struct {
	Config    *config.Config
	Store     *store.Store
	Records   *ledger.Ledger
	Ports     *export.Ports
	Questions *client.Questions
	Backups   *Service
	Log       *slog.Logger
}

// Clients answers SBC's questions and records its reports. Its methods may be called from any goroutine.
type Clients struct{ ClientParts }

// NewClients returns a Clients.
func NewClients(p ClientParts) *Clients { return &Clients{p} }

// ChangeIDAnswer is the answer to SBC's question from which change id to copy. An empty ChangeID means a full copy.
type ChangeIDAnswer struct {
	VMName, ChangeID, BackupID, Message string
	DiskID                              int
}

// ChangeID answers SBC's question from which change id it may copy a disk. SBC decides by the answer alone. It names the VM by the
// last segment of its inventory path, does not name the job, and asks about "disk 0" for every disk until it has connected
// (contract §5). So client.Attribute finds out which backup asks, from what is in progress. A wrong guess costs a copy of the whole
// disk: before it connects, SBC compares the UUID in the answer with that of the disk, and its questions after that name the disk.
// A full backup gets no change id, because with one it would hold only the changes.
func (c *Clients) ChangeID(vmName string, diskID int) (ChangeIDAnswer, error) {
	answer := ChangeIDAnswer{VMName: vmName, DiskID: diskID}
	if vmName == "" {
		return answer, fault.New(fault.InvalidRequest, "vm_name is missing")
	}
	named, err := c.Questions.Asking(vmName)
	if err != nil {
		return answer, err
	}
	clients, err := sockets.Clients()
	if err != nil {
		c.Log.Warn("cannot read the clients of the exports", logkey.VM, vmName, logkey.Error, err)
		clients = nil
	}
	q := client.Attribute(named, diskID, clients, c.Backups.settled)
	for _, id := range q.Over {
		c.unknownDisk(id)
	}
	if q.Backup != nil && !q.Exact {
		if j := c.Backups.jobOf(q.Backup.ID); j != nil {
			j.asked.Store(true)
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
		return c.changeIDOf(answer, q)
	}
	return answer, nil
}

// changeIDOf answers a question of an incremental. It records that SBC copies changes before SBC gets the answer. Without that
// record the disk counts as copied whole.
func (c *Clients) changeIDOf(answer ChangeIDAnswer, q client.Question) (ChangeIDAnswer, error) {
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
		_, err := c.changeUntilRecorded(q.Backup.ID, func(b *record.Backup) error {
			d := b.Run(q.Disk)
			if !client.Underway(b.State) || d == nil {
				return fault.New(fault.WrongState, "backup %s is %s: nothing can be copied", b.ID, b.State)
			}
			d.AsChanges = true
			return seen(b)
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
func (c *Clients) unknownDisk(id string) {
	b, err := c.changeUntilRecorded(id, func(b *record.Backup) error {
		if !client.MayAsk(*b) || !b.AllComplete() {
			return fault.New(fault.WrongState, "backup %s is %s", id, b.State)
		}
		if b.UnknownDiskAt.IsZero() {
			b.UnknownDiskAt = time.Now()
		}
		return nil
	})
	if err != nil {
		c.Log.Warn("a question about an unknown disk came too late", logkey.BackupID, id, logkey.Error, err)
		return
	}
	failpoint.Reach("unknown disk recorded")
	if j := c.Backups.jobOf(id); j != nil {
		j.Cancel(c.Questions.OrNamesake(b, client.DiskUnknown(b)))
	}
}

// settled says whether it is too late for SBC to ask about one more disk. Every disk of the backup is reported.
func (s *Service) settled(id string) bool {
	j := s.jobOf(id)
	return j != nil && j.finisher.QuestionDue() <= 0
}
