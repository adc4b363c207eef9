// Package client finds out what can be known about the backup client (SBC), which says little: which backup a question belongs to,
// whether SBC is still there, what it last reported to the SNA, and how it copied a disk. It draws conclusions; package backup and
// package publish act on them.
package client

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// Parts are what Questions works with.
type Parts struct {
	Store *store.Store
	Log   *slog.Logger
}

// Questions finds the backups whose client may ask with a given VM name.
type Questions struct{ Parts }

// New returns a Questions.
func New(p Parts) *Questions { return &Questions{p} }

// UnreadableID is a change id that SBC cannot read. Before SBC has connected, it then copies the whole disk, as with an empty one.
// After it has connected, it ends; an empty change id it would pass on to vCenter.
const UnreadableID = "none"

// Asking lists the backups whose SBC may ask with this VM name.
func (q *Questions) Asking(vmName string) ([]record.Backup, error) {
	active, err := q.Store.Active()
	if err != nil {
		return nil, fault.From(err)
	}
	named := slices.DeleteFunc(active, func(b record.Backup) bool { return record.ClientName(b.VM) != vmName || !MayAsk(b) })
	for i := range named {
		parent, err := q.Store.Backup(named[i].Parent)
		if named[i].Parent == "" || err != nil {
			continue // the order of the record is used
		}
		sortDisks(&named[i], &parent)
	}
	return named, nil
}

// MayAsk says whether SBC may still work for a backup. It may also after all disks are reported, until the restore point is
// written.
func MayAsk(b record.Backup) bool {
	return Underway(b.State) || b.State == record.Finishing && b.PublishingAt.IsZero()
}

// Underway says whether SBC may be copying a disk of a backup in this state.
func Underway(s record.State) bool {
	return s == record.Calling || s == record.Unresolved || s == record.Running
}

// sortDisks sorts the disks in the order in which SBC is expected to copy them: that of the snapshot's hardware, which is the order
// in which the parent's disks were reported. Disks that the parent did not have come last, as vCenter appends them.
func sortDisks(b, parent *record.Backup) {
	order := func(d record.DiskRun) int {
		if from := chain.OfKey(parent, d.Key); from != nil && from.Order > 0 {
			return from.Order
		}
		return len(parent.Runs) + 1
	}
	b.Runs = slices.Clone(b.Runs)
	slices.SortStableFunc(b.Runs, func(x, y record.DiskRun) int { return cmp.Compare(order(x), order(y)) })
}

// A Question is what is known about a question of SBC.
type Question struct {
	Backup *record.Backup // the backup whose SBC asks; nil if it is not known
	Disk   int            // disk id; -1 for one that the backup does not have
	Exact  bool           // SBC is connected: it will copy the changes since the change id in the answer
	Over   []string       // the backups whose SBC may ask although every disk is complete
}

// Attribute finds out, from what is in progress, which backup a question belongs to and which disk it is about. The disks of each
// backup are in the order in which SBC copies them. SBC is one process that copies disk after disk. It asks about disk 0 twice
// before it connects to the export of the next disk, then once more with the right number while it is connected:
//
//	an incomplete disk has a client   it is being copied, and only an exact question about it can follow
//	no incomplete disk has a client   the next question is about the first of them, and names disk 0
//	every disk is complete            a question is about a disk that has no export
//
// clients is the number of clients of each port, nil if it is not known: then a question counts as exact.
// settled says for a complete backup whether it is too late for its SBC's last question.
func Attribute(named []record.Backup, diskID int, clients map[uint16]int, settled func(id string) bool) Question {
	connected := func(d record.DiskRun) bool { return !d.Complete && (clients == nil || clients[d.Port] > 0) }
	var exact, next, over []Question
	for i := range named {
		b := &named[i]
		d := b.Run(diskID)
		switch {
		case b.AllComplete():
			if diskID == 0 && (len(named) == 1 || !settled(b.ID)) {
				over = append(over, Question{Over: []string{b.ID}})
			}
		case d != nil && connected(*d) && (b.Type == record.Incremental || len(named) == 1):
			exact = append(exact, Question{Backup: b, Disk: diskID, Exact: true})
		case diskID == 0 && (len(named) == 1 || !slices.ContainsFunc(b.Runs, connected)):
			next = append(next, Question{Backup: b, Disk: firstOpen(*b)})
		case len(named) == 1: // not the known behavior of SBC
			next = append(next, Question{Backup: b, Disk: diskID})
		}
	}
	if len(exact) > 1 { // each SBC asks this once
		exact = slices.DeleteFunc(exact, func(q Question) bool { return q.Backup.Run(q.Disk).AsChanges })
	}
	all := slices.Concat(exact, next, over)
	if len(all) == 1 && !confusable(all[0], named, connected) {
		return all[0]
	}
	var unsure Question
	for _, q := range over { // a good backup that fails is better than a disk that is missing without an error
		unsure.Over = append(unsure.Over, q.Over...)
	}
	return unsure
}

// confusable says whether a question before the client connects could cause a mistake later: its next question could be taken for
// one of another backup, whose disk of the same number has a client that has not asked yet. Then the client must copy the whole
// disk.
func confusable(q Question, named []record.Backup, connected func(record.DiskRun) bool) bool {
	return q.Backup != nil && !q.Exact && slices.ContainsFunc(named, func(b record.Backup) bool {
		d := b.Run(q.Disk)
		return b.ID != q.Backup.ID && b.Type == record.Incremental && d != nil && !d.AsChanges && connected(*d)
	})
}

// firstOpen is the id of the first disk that is not complete.
func firstOpen(b record.Backup) int {
	for _, d := range b.Runs {
		if !d.Complete {
			return d.DiskID
		}
	}
	return -1
}

// DiskUnknown is the error of a backup whose SBC asked about a disk that has no export; nil for any other.
func DiskUnknown(b record.Backup) error {
	if b.UnknownDiskAt.IsZero() {
		return nil
	}
	return fault.New(fault.DiskUnknown, "backup %s: the client has asked about one more disk after it had reported all %d: "+
		"vCenter has a disk of vm %q that is not on record, so the backup would lack it", b.ID, len(b.Runs), b.VM.Name).OfBackup(b.ID).
		WithHint(inventory.LookUpDisks(b.VM) + "; with refresh = prefer or require every backup looks the disks up before it begins")
}

// OrNamesake adds a second possible cause to the error of a backup that seems to lack a disk: the SBC of another backup asked.
// Nothing tells the two apart (decision 25).
func (q *Questions) OrNamesake(b record.Backup, err error) error {
	e := fault.From(err)
	if !e.Has(fault.DiskUnknown) {
		return err
	}
	if other := q.namesake(b); other != "" {
		e.Message += ". Or the client of backup " + other + " has asked: its VM has the same name in another folder or datacenter"
		e.Hint = "start the backup again when " + other + " has ended, and do not run both at a time. If it fails again: " + e.Hint
	}
	return e
}

// namesake is another backup in progress whose SBC asks with the same VM name (decision 25); "" if there is none.
func (q *Questions) namesake(b record.Backup) string {
	named, err := q.Asking(record.ClientName(b.VM))
	if err != nil {
		q.Log.Warn("cannot tell whether another VM with this name is being backed up", logkey.BackupID, b.ID, logkey.Error, err)
	}
	for _, other := range named {
		if other.ID != b.ID {
			return other.ID
		}
	}
	return ""
}

// Seen records a sign of SBC. It proves that the request to the SNA arrived, even if its answer was lost.
func Seen(b *record.Backup) error {
	if b.SeenAt.IsZero() {
		b.SeenAt = time.Now()
	}
	if b.State == record.Calling || b.State == record.Unresolved {
		b.State = record.Running
	}
	return nil
}
