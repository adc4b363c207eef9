// Package client is what can be known of the backup client (SBC), which says little: whose question one of its questions is, whether it
// is still there, what it last reported to the SNA, and how it copied a disk. It draws conclusions; what becomes of a backup is decided
// elsewhere.
package client

import (
	"cmp"
	"log/slog"
	"slices"

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

// Questions finds the backups whose client may ask with a name.
type Questions struct{ Parts }

// New returns a Questions.
func New(p Parts) *Questions { return &Questions{p} }

// UnreadableID is a change id that SBC cannot read. Before it has connected it copies the disk whole then, as with an empty one;
// after it has connected it gives up, where an empty one would be passed on to vCenter.
const UnreadableID = "none"

// Asking lists the backups whose SBC may ask with this name.
func (q *Questions) Asking(vmName string) ([]record.Backup, error) {
	active, err := q.Store.Active()
	if err != nil {
		return nil, fault.From(err)
	}
	named := slices.DeleteFunc(active, func(b record.Backup) bool { return record.ClientName(b.VM) != vmName || !MayAsk(b) })
	for i := range named {
		parent, err := q.Store.Backup(named[i].Parent)
		if named[i].Parent == "" || err != nil {
			continue // the order of the record has to do
		}
		walk(&named[i], &parent)
	}
	return named, nil
}

// MayAsk says whether SBC may be at work for a backup: also when all was reported, until its restore point is being written.
func MayAsk(b record.Backup) bool {
	return Underway(b.State) || b.State == record.Finishing && b.PublishingAt.IsZero()
}

// Underway says whether SBC may be at work on a disk of a backup in this state.
func Underway(s record.State) bool {
	return s == record.Calling || s == record.Unresolved || s == record.Running
}

// walk puts the disks into the order in which SBC is expected to walk them: that of the snapshot's hardware, which is the order
// in which the parent's disks were reported. Disks that it did not have come last, as vCenter appends them.
func walk(b, parent *record.Backup) {
	order := func(d record.DiskRun) int {
		if from := chain.OfKey(parent, d.Key); from != nil && from.Order > 0 {
			return from.Order
		}
		return len(parent.Runs) + 1
	}
	b.Runs = slices.Clone(b.Runs)
	slices.SortStableFunc(b.Runs, func(x, y record.DiskRun) int { return cmp.Compare(order(x), order(y)) })
}

// A question is what SBC asks, as far as can be told.
type Question struct {
	Backup *record.Backup // whose SBC it is; nil if that cannot be told
	Disk   int            // disk id; -1 for one that the backup does not have
	Exact  bool           // it has connected: it will copy the changes since the answer
	Over   []string       // the backups that it may be of, and of which every disk is complete
}

// Attribute tells by what is going on whose question it is, and about which disk. The backups have their disks in the order in
// which SBC walks them. SBC is one process that copies disk after disk, and asks about disk 0 twice before it connects to the
// export of the next disk, then once more with the right number while it is connected:
//
//	a disk that is not complete has a client  it is being copied, and only an exact question about it can come
//	no such disk has one                      the next question is about the first of them, and asks for disk 0
//	every disk is complete                    a question is about a disk that has no export
//
// clients is how many each port has, nil if that is not known: then a question counts as exact.
// settled says of a backup that is complete whether its SBC has ended; the time for its last question is over.
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
		case len(named) == 1: // not SBC as it is known
			next = append(next, Question{Backup: b, Disk: diskID})
		}
	}
	if len(exact) > 1 { // each asks this once
		exact = slices.DeleteFunc(exact, func(q Question) bool { return q.Backup.Run(q.Disk).AsChanges })
	}
	all := slices.Concat(exact, next, over)
	if len(all) == 1 && !confusable(all[0], named, connected) {
		return all[0]
	}
	var unsure Question
	for _, q := range over { // better a good backup that fails than a disk that is missing without a word
		unsure.Over = append(unsure.Over, q.Over...)
	}
	return unsure
}

// confusable says of a question before the client connects whether what it asks after that could be taken for a question of
// another backup, whose disk of the same number has a client too that has asked nothing: then it had better copy the disk whole.
func confusable(q Question, named []record.Backup, connected func(record.DiskRun) bool) bool {
	return q.Backup != nil && !q.Exact && slices.ContainsFunc(named, func(b record.Backup) bool {
		d := b.Run(q.Disk)
		return b.ID != q.Backup.ID && b.Type == record.Incremental && d != nil && !d.AsChanges && connected(*d)
	})
}

// firstOpen is the first disk that is not complete, by its id.
func firstOpen(b record.Backup) int {
	for _, d := range b.Runs {
		if !d.Complete {
			return d.DiskID
		}
	}
	return -1
}

// DiskUnknown is why a backup fails whose SBC asked about a disk that has no export; nil for any other.
func DiskUnknown(b record.Backup) error {
	if b.UnknownDiskAt.IsZero() {
		return nil
	}
	e := fault.New(fault.DiskUnknown, "backup %s: the client has asked about one more disk after it had reported all %d: "+
		"vCenter has a disk of vm %q that is not on record, so the backup would lack it", b.ID, len(b.Runs), b.VM.Name)
	e.BackupID = b.ID
	e.Hint = inventory.LookUpDisks(b.VM) + "; with refresh = prefer or require every backup looks the disks up before it begins"
	return e
}

// OrNamesake adds to the failure of a backup that seems to lack a disk that another one's SBC may have asked: nothing tells them apart
// (decision 25).
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

// namesake is another backup that is under way and whose SBC asks with the same name (decision 25); "" if there is none.
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
