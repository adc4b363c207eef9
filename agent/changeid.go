package agent

import (
	"cmp"
	"path"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd/sockets"
)

// unreadableID is a change id that SBC cannot read. Before it has connected it copies the disk whole then, as with an empty one;
// after it has connected it gives up, where an empty one would be passed on to vCenter.
const unreadableID = "none"

// ChangeID answers SBC's question from which change id it may copy a disk. SBC decides by the answer alone. It names the VM by
// the last segment of its inventory path, says nothing of the job, and asks about "disk 0" for every disk until it has connected
// (contract §5), so whose question it is has to be told by what is going on: see attribute. A wrong guess costs a copy of the
// whole disk: before it connects SBC compares the UUID in the answer with the disk's own, and what it asks after that names the
// disk. A full backup gets no change id, or it would hold the changes only.
func (a *Agent) ChangeID(vmName string, diskID int) (ChangeIDAnswer, error) {
	answer := ChangeIDAnswer{VMName: vmName, DiskID: diskID}
	if vmName == "" {
		return answer, errorf(InvalidRequest, "vm_name is missing")
	}
	named, err := a.asking(vmName)
	if err != nil {
		return answer, err
	}
	clients, err := sockets.Clients()
	if err != nil {
		a.log.Warn("the clients of the exports are not known", logVM, vmName, logError, err)
		clients = nil
	}
	q := attribute(named, diskID, clients, a.settled)
	for _, id := range q.over {
		a.unknownDisk(id)
	}
	if q.backup != nil && !q.exact {
		if r := a.run(q.backup.ID); r != nil {
			r.asked.Store(true)
		}
	}
	switch {
	case len(named) == 0:
		answer.Message = "no backup of this VM is under way: copy everything"
	case len(q.over) > 0:
		answer.ChangeID, answer.Message = unreadableID, "every disk on record is complete: there is no export for another one"
	case q.backup == nil:
		answer.ChangeID, answer.Message = unreadableID, "several VMs of this name are being backed up: copy everything"
	case q.backup.Type != record.Incremental:
		answer.BackupID, answer.Message = q.backup.ID, "this backup is a full one: copy everything"
	default:
		return a.changeIDOf(answer, q)
	}
	return answer, nil
}

// asking lists the backups whose SBC may ask with this name.
func (a *Agent) asking(vmName string) ([]record.Backup, error) {
	active, err := a.store.Active()
	if err != nil {
		return nil, AsError(err)
	}
	named := slices.DeleteFunc(active, func(b record.Backup) bool { return segment(b.VM) != vmName || !mayAsk(b) })
	for i := range named {
		parent, err := a.store.Backup(named[i].Parent)
		if named[i].Parent == "" || err != nil {
			continue // the order of the record has to do
		}
		walk(&named[i], &parent)
	}
	return named, nil
}

// mayAsk says whether SBC may be at work for a backup: also when all was reported, until its restore point is being written.
func mayAsk(b record.Backup) bool {
	return underway(b.State) || b.State == record.Finishing && b.PublishingAt.IsZero()
}

// underway says whether SBC may be at work on a disk of a backup in this state.
func underway(s record.State) bool {
	return s == record.Calling || s == record.Unresolved || s == record.Running
}

// walk puts the disks into the order in which SBC is expected to walk them: that of the snapshot's hardware, which is the order
// in which the parent's disks were reported. Disks that it did not have come last, as vCenter appends them.
func walk(b, parent *record.Backup) {
	order := func(d record.DiskRun) int {
		if from := ofKey(parent, d.Key); from != nil && from.Order > 0 {
			return from.Order
		}
		return len(parent.Runs) + 1
	}
	b.Runs = slices.Clone(b.Runs)
	slices.SortStableFunc(b.Runs, func(x, y record.DiskRun) int { return cmp.Compare(order(x), order(y)) })
}

// A question is what SBC asks, as far as can be told.
type question struct {
	backup *record.Backup // whose SBC it is; nil if that cannot be told
	disk   int            // disk id; -1 for one that the backup does not have
	exact  bool           // it has connected: it will copy the changes since the answer
	over   []string       // the backups that it may be of, and of which every disk is complete
}

// attribute tells by what is going on whose question it is, and about which disk. The backups have their disks in the order in
// which SBC walks them. SBC is one process that copies disk after disk, and asks about disk 0 twice before it connects to the
// export of the next disk, then once more with the right number while it is connected:
//
//	a disk that is not complete has a client  it is being copied, and only an exact question about it can come
//	no such disk has one                      the next question is about the first of them, and asks for disk 0
//	every disk is complete                    a question is about a disk that has no export
//
// clients is how many each port has, nil if that is not known: then a question counts as exact.
// settled says of a backup that is complete whether its SBC has ended; the time for its last question is over.
func attribute(named []record.Backup, diskID int, clients map[uint16]int, settled func(id string) bool) question {
	connected := func(d record.DiskRun) bool { return !d.Complete && (clients == nil || clients[d.Port] > 0) }
	var exact, next, over []question
	for i := range named {
		b := &named[i]
		d := b.Run(diskID)
		switch {
		case b.AllComplete():
			if diskID == 0 && (len(named) == 1 || !settled(b.ID)) {
				over = append(over, question{over: []string{b.ID}})
			}
		case d != nil && connected(*d) && (b.Type == record.Incremental || len(named) == 1):
			exact = append(exact, question{backup: b, disk: diskID, exact: true})
		case diskID == 0 && (len(named) == 1 || !slices.ContainsFunc(b.Runs, connected)):
			next = append(next, question{backup: b, disk: firstOpen(*b)})
		case len(named) == 1: // not SBC as it is known
			next = append(next, question{backup: b, disk: diskID})
		}
	}
	if len(exact) > 1 { // each asks this once
		exact = slices.DeleteFunc(exact, func(q question) bool { return q.backup.Run(q.disk).AsChanges })
	}
	all := slices.Concat(exact, next, over)
	if len(all) == 1 && !confusable(all[0], named, connected) {
		return all[0]
	}
	var unsure question
	for _, q := range over { // better a good backup that fails than a disk that is missing without a word
		unsure.over = append(unsure.over, q.over...)
	}
	return unsure
}

// confusable says of a question before the client connects whether what it asks after that could be taken for a question of
// another backup, whose disk of the same number has a client too that has asked nothing: then it had better copy the disk whole.
func confusable(q question, named []record.Backup, connected func(record.DiskRun) bool) bool {
	return q.backup != nil && !q.exact && slices.ContainsFunc(named, func(b record.Backup) bool {
		d := b.Run(q.disk)
		return b.ID != q.backup.ID && b.Type == record.Incremental && d != nil && !d.AsChanges && connected(*d)
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

// changeIDOf answers a question of an incremental. That SBC is going to copy changes is on record before it is told from where:
// without it the disk counts as copied whole.
func (a *Agent) changeIDOf(answer ChangeIDAnswer, q question) (ChangeIDAnswer, error) {
	answer.BackupID = q.backup.ID
	d := q.backup.Run(q.disk)
	if d == nil || d.ParentChangeID == "" {
		answer.Message = "this disk is not in the parent: copy everything"
		if q.exact {
			answer.ChangeID = unreadableID // it was about to copy changes
		}
		return answer, nil
	}
	if q.exact && !d.AsChanges {
		failpoint.Reach("before changes are asked for")
		_, err := a.changeOfRun(q.backup.ID, func(b *record.Backup) error {
			d := b.Run(q.disk)
			if !underway(b.State) || d == nil {
				return errorf(WrongState, "backup %s is %s: nothing can be copied", b.ID, b.State)
			}
			d.AsChanges = true
			return seen(b)
		})
		if err != nil {
			return answer, AsError(notFound(err))
		}
		failpoint.Reach("changes asked for")
	}
	answer.ChangeID = d.ParentChangeID
	answer.Message = "copy what changed since " + q.backup.Parent
	return answer, nil
}

// unknownDisk records that SBC has asked about a disk that has no export, and ends the run.
func (a *Agent) unknownDisk(id string) {
	b, err := a.changeOfRun(id, func(b *record.Backup) error {
		if !mayAsk(*b) || !b.AllComplete() {
			return errorf(WrongState, "backup %s is %s", id, b.State)
		}
		if b.UnknownDiskAt.IsZero() {
			b.UnknownDiskAt = time.Now()
		}
		return nil
	})
	if err != nil {
		a.log.Warn("a question about an unknown disk comes too late", logBackupID, id, logError, err)
		return
	}
	failpoint.Reach("unknown disk recorded")
	if r := a.run(id); r != nil {
		r.cancel(a.orNamesake(b, diskUnknown(b)))
	}
}

// diskUnknown is why a backup fails whose SBC asked about a disk that has no export; nil for any other.
func diskUnknown(b record.Backup) error {
	if b.UnknownDiskAt.IsZero() {
		return nil
	}
	e := errorf(DiskUnknown, "backup %s: the client has asked about one more disk after it had reported all %d: "+
		"vCenter has a disk of vm %q that is not on record, so the backup would lack it", b.ID, len(b.Runs), b.VM.Name)
	e.BackupID = b.ID
	e.Hint = lookUpDisks(b.VM) + "; with refresh = prefer or require every backup looks the disks up before it begins"
	return e
}

// orNamesake adds to the failure of a backup that seems to lack a disk that another one's SBC may have asked: nothing tells them apart
// (decision 25).
func (a *Agent) orNamesake(b record.Backup, err error) error {
	e := AsError(err)
	if !e.has(DiskUnknown) {
		return err
	}
	if other := a.namesake(b); other != "" {
		e.Message += ". Or the client of backup " + other + " has asked: its VM has the same name in another folder or datacenter"
		e.Hint = "start the backup again when " + other + " has ended, and do not run both at a time. If it fails again: " + e.Hint
	}
	return e
}

// namesake is another backup that is under way and whose SBC asks with the same name (decision 25); "" if there is none.
func (a *Agent) namesake(b record.Backup) string {
	named, err := a.asking(segment(b.VM))
	if err != nil {
		a.log.Warn("whether another VM of this name is being backed up is not known", logBackupID, b.ID, logError, err)
	}
	for _, other := range named {
		if other.ID != b.ID {
			return other.ID
		}
	}
	return ""
}

// segment is how SBC names a VM.
func segment(vm record.VM) string {
	if vm.InventoryPath == "" {
		return vm.Name
	}
	return path.Base(vm.InventoryPath)
}
