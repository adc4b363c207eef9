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

// observed is what the agent finds: what its database says, and what exists. Nothing is planned for what was not observed.
type observed struct {
	slice       string                    // of our exporters
	bootID      string                    // of the host; "" if unknown
	idle        []record.Backup           // the active backups without a job
	records     map[string]record.Backup  // every backup on record that the rest names
	removed     map[string]string         // the directories of backups that were deleted, by id
	restores    map[string]record.Restore // every restore on record, by id
	scratch     []record.Restore          // the restores that have ended and whose overlays may exist
	leases      []record.Lease
	units       []units.Unit    // with our prefix; nil if not observed
	directories []directory     // without a manifest; nil if not observed
	cutMerges   []record.Backup // the restore points whose merge was interrupted
	mergeDirs   []directory     // left by merges: new directories before the commit, old ones after it
}

// A directory is in a repository, in the place of a directory of a backup. Either it has no manifest, or a merge left it.
type directory struct {
	repository, vm, backupID string
	path                     string // absolute
	empty                    bool
}

// A step is one action that reconciles the records with what exists.
type step struct {
	action    action
	backupID  string
	restoreID string       // instead of backupID, for a step about a restore
	unit      string       // of removeUnit and leaveUnit
	lease     record.Lease // of returnLease
	directory directory    // of removeDirectory
	reason    string
}

// owner is the backup or restore that a step is about.
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

	removeUnit      action = "remove unit"      // an orphan: a pair of ours that serves no active backup or restore
	leaveUnit       action = "leave unit"       // a pair that looks like ours, without proof
	returnLease     action = "return lease"     // no active backup or restore has it
	removeDirectory action = "remove directory" // of a backup that was undone or deleted
	resumeDeletion  action = "resume deletion"  // it was interrupted
	settleMerge     action = "settle merge"     // it was interrupted, or left a directory
	removeScratch   action = "remove scratch"   // the overlays of a restore that has ended
)

// plan computes the steps, in this order: a port is returned after the unit that serves it is removed. It changes nothing. When all
// steps are done, the next plan is empty, except for units that are left alone.
func plan(w observed) []step {
	return slices.Concat(planBackups(w), planUnits(w), planLeases(w), planDirectories(w), planMerges(w), planScratch(w))
}

// planBackups plans for the backups that were active when the last agent ended.
func planBackups(w observed) []step {
	steps := make([]step, 0, len(w.idle))
	for _, b := range w.idle {
		fate, reason := record.FateOf(b, w.bootID)
		steps = append(steps, step{action: action(fate), backupID: b.ID, reason: reason})
	}
	return steps
}

// planUnits plans for the units with our prefix. A pair is ours if a record names it and its service has the InvocationID of that
// record: systemd gives a unit a new one at each start. A pair of ours that serves no active backup or restore is an orphan, and is
// removed. A pair that no record names is left alone: it may not be ours.
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

// A unitOwner is the backup or restore that a unit belongs to by its name, as the records have it.
type unitOwner struct {
	kind, state   string
	known, active bool
	names         bool   // its record names the unit
	invocation    string // of the unit's service; "" if unknown
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

// planLeases returns the leases that no active backup or restore has. The database does not let that happen; if it did, the port would
// be lost for ever. If the units were not observed, nothing is returned, because one of them may serve the port.
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

// holds reports whether a lease belongs to a backup.
func holds(b record.Backup, l record.Lease) bool {
	d := b.Run(l.DiskID)
	return d != nil && d.Port == l.Port && strings.Contains(d.Unit, l.Nonce)
}

// planDirectories plans which directories are removed, and which deletions are resumed. A directory is left alone if its backup was
// never on record, did not make it, or had another one.
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

// planMerges plans to settle the interrupted merges. A directory of a merge beside a restore point on record is always removed: the
// restore point is complete, before the commit of the merge and after it.
func planMerges(w observed) []step {
	var steps []step
	marked := map[string]bool{}
	for _, b := range w.cutMerges {
		marked[b.ID] = true
		steps = append(steps, step{action: settleMerge, backupID: b.ID, reason: "its merge was interrupted"})
	}
	for _, d := range w.mergeDirs {
		b, known := w.records[d.backupID]
		if !known || marked[d.backupID] || b.State != record.Completed || b.Repository != d.repository || record.DirectoryOf(b) != d.vm {
			continue
		}
		steps = append(steps, step{action: settleMerge, backupID: b.ID, directory: d, reason: "its merge left a directory"})
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
