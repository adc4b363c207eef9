package reconcile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/units"
)

// A world is what an agent finds: what its database says, and what is really there. Nothing is planned about what was not
// looked at.
type observed struct {
	slice       string                    // of our exporters
	bootID      string                    // of the host; "" if it is not known
	idle        []record.Backup           // the active backups that no run moves along
	records     map[string]record.Backup  // every record that the rest of the world names
	removed     map[string]string         // and the directories of those that are not on record because they were deleted
	restores    map[string]record.Restore // every restore on record that the rest of the world names
	scratch     []record.Restore          // the restores that have ended, and whose overlays may be there
	leases      []record.Lease
	units       []units.Unit    // that carry our prefix; nil if they were not looked at
	directories []directory     // without a manifest; nil if they were not looked at
	rewrites    []record.Backup // the restore points whose rewriting was cut short
	merges      []directory     // what was to take a restore point\'s place, or whose place was taken
}

// A directory stands in a repository where one of a backup would, and holds no manifest.
type directory struct {
	repository, vm, backupID string
	path                     string // absolute
	empty                    bool
}

// A step is one thing that brings the world and the records together again.
type step struct {
	action    action
	backupID  string
	restoreID string       // in its place, of what belongs to a restore
	unit      string       // of removeUnit and leaveUnit
	lease     record.Lease // of returnLease
	directory directory    // of removeDirectory
	reason    string
}

// owner is whom a step is about.
func (s step) owner() string {
	if s.restoreID != "" {
		return "restore " + s.restoreID
	}
	return "backup " + s.backupID
}

type action string

const (
	undoBackup   = action(record.FateUndo)
	loseBackup   = action(record.FateLose)
	unresolve    = action(record.FateUnresolve)
	resumeBackup = action(record.FateResume)

	removeUnit      action = "remove unit"      // a pair of ours that serves no lease
	leaveUnit       action = "leave unit"       // a pair that looks like ours, and is not known to be
	returnLease     action = "return lease"     // no active backup has it
	removeDirectory action = "remove directory" // it is of a backup that was undone or deleted
	resumeDeletion  action = "resume deletion"  // it was cut short
	settleRewrite   action = "settle rewrite"   // of a restore point: it was cut short, or has left something
	removeScratch   action = "remove scratch"   // the overlays of a restore that has ended
)

// plan says what is to be done, in this order: a port is given back after the unit that serves it has gone. It only
// computes. Once all of it is done, there is nothing to plan.
func plan(w observed) []step {
	return slices.Concat(planBackups(w), planUnits(w), planLeases(w), planDirectories(w), planRewrites(w), planScratch(w))
}

// planBackups says what becomes of the backups that were active when the last agent ended.
func planBackups(w observed) []step {
	steps := make([]step, 0, len(w.idle))
	for _, b := range w.idle {
		fate, reason := record.FateOf(b, w.bootID)
		steps = append(steps, step{action: action(fate), backupID: b.ID, reason: reason})
	}
	return steps
}

// planUnits says what becomes of the units that carry our prefix. A pair is ours when a record names it, and its service
// was started as that record says: InvocationID is systemd's own name for one life of a unit. A pair of ours that serves no
// active backup or restore is removed. One that no record names is left alone: it may be anybody's.
func planUnits(w observed) []step {
	var steps []step
	for _, u := range w.units {
		id := export.OwnerOf(u.Name)
		s, o := step{action: leaveUnit, backupID: id, unit: u.Name}, w.backupOwner(id, u.Name)
		if export.IsRestore(u.Name) {
			s.backupID, s.restoreID, o = "", id, w.restoreOwner(id, u.Name)
		}
		switch {
		case !o.known:
			s.reason = fmt.Sprintf("no %s of that name is on record", o.kind)
		case !o.names:
			s.reason = fmt.Sprintf("%s %s has no such unit", o.kind, id)
		case u.ActiveState != "" && u.Slice != w.slice:
			s.reason = fmt.Sprintf("it is in slice %s, not %s", u.Slice, w.slice)
		case o.invocation != "" && u.InvocationID != "" && u.InvocationID != o.invocation:
			s.reason = "its service was not started by the agent"
		case o.active:
			continue
		default:
			s.action, s.reason = removeUnit, fmt.Sprintf("%s %s is %s", o.kind, id, o.state)
		}
		steps = append(steps, s)
	}
	return steps
}

// A unitOwner is what the records say of whose a unit is by its name.
type unitOwner struct {
	kind, state   string
	known, active bool
	names         bool   // the unit
	invocation    string // of its service; "" if it is not known
}

func (w observed) backupOwner(id, unit string) unitOwner {
	b, known := w.records[id]
	o := unitOwner{kind: "backup", known: known, state: string(b.State), active: b.State.Active()}
	if d := runOf(b, unit); d != nil {
		o.names, o.invocation = true, d.InvocationID
	}
	return o
}

func (w observed) restoreOwner(id, unit string) unitOwner {
	r, known := w.restores[id]
	o := unitOwner{kind: "restore", known: known, state: string(r.State), active: r.State.Active()}
	if d := servedBy(r, unit); d != nil {
		o.names, o.invocation = true, d.InvocationID
	}
	return o
}

// planLeases gives back the ports that no active backup has. The database never lets that happen; if it did, the port
// would be lost for ever. Without a look at the units nothing is given back, since one of them may serve the port.
func planLeases(w observed) []step {
	if w.units == nil {
		return nil
	}
	var steps []step
	for _, l := range w.leases {
		b, known := w.records[l.BackupID]
		s := step{action: returnLease, backupID: l.BackupID, restoreID: l.RestoreID, lease: l}
		switch {
		case l.RestoreID != "":
			if r := w.restores[l.RestoreID]; restore.RestoreHolds(r, l) {
				continue
			}
			s.reason = fmt.Sprintf("no active restore %s has it", l.RestoreID)
		case !known:
			s.reason = "no backup of that name is on record"
		case !b.State.Active():
			s.reason = fmt.Sprintf("backup %s is %s", b.ID, b.State)
		case !holds(b, l):
			s.reason = fmt.Sprintf("backup %s has another port", b.ID)
		default:
			continue
		}
		steps = append(steps, s)
	}
	return steps
}

// holds says whether a lease is one of a backup's.
func holds(b record.Backup, l record.Lease) bool {
	d := b.Run(l.DiskID)
	return d != nil && d.Port == l.Port && strings.Contains(d.Unit, l.Nonce)
}

// planDirectories says which directories go, and which deletions go on. A directory whose backup was never on record, or
// did not make it, or had another one, is left alone.
func planDirectories(w observed) []step {
	if w.directories == nil {
		return nil
	}
	var steps []step
	for _, d := range w.directories {
		b, known := w.records[d.backupID]
		s := step{action: removeDirectory, backupID: d.backupID, directory: d}
		switch {
		case !known && d.path == w.removed[d.backupID]:
			s.reason = fmt.Sprintf("backup %s was deleted", d.backupID)
		case !known || b.State != record.Failed && b.State != record.Cancelled:
			continue
		case b.Repository != d.repository || record.DirectoryOf(b) != d.vm || !b.DirectoryMade && !d.empty:
			continue
		default:
			s.reason = fmt.Sprintf("backup %s is %s", b.ID, b.State)
		}
		steps = append(steps, s)
	}
	return append(steps, planDeletions(w)...)
}

func planDeletions(w observed) []step {
	var steps []step
	for id, b := range w.records {
		if b.State == record.Deleting {
			steps = append(steps, step{action: resumeDeletion, backupID: id, reason: "its deletion was interrupted"})
		}
	}
	slices.SortFunc(steps, func(x, y step) int { return cmp.Compare(x.backupID, y.backupID) })
	return steps
}

// planRewrites brings the rewriting of restore points to its end. What is beside a restore point on record goes in any case: the
// restore point itself is whole, before the exchange and after it.
func planRewrites(w observed) []step {
	var steps []step
	marked := map[string]bool{}
	for _, b := range w.rewrites {
		marked[b.ID] = true
		steps = append(steps, step{action: settleRewrite, backupID: b.ID, reason: "its merge was interrupted"})
	}
	for _, d := range w.merges {
		b, known := w.records[d.backupID]
		if !known || marked[d.backupID] || b.State != record.Completed || b.Repository != d.repository || record.DirectoryOf(b) != d.vm {
			continue
		}
		steps = append(steps, step{action: settleRewrite, backupID: b.ID, directory: d, reason: "its merge left a directory"})
	}
	return steps
}

func runOf(b record.Backup, unit string) *record.DiskRun {
	for i := range b.Runs {
		if b.Runs[i].Unit == unit {
			return &b.Runs[i]
		}
	}
	return nil
}
