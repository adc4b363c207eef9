package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/units"
)

// A step is one thing that brings the world and the records together again.
type step struct {
	action   action
	backupID string
	unit     string // of removeUnit and leaveUnit
	reason   string
}

type action string

const (
	undoBackup   action = "undo"      // it had not reached the SNA
	unresolve    action = "unresolve" // its request may have left
	resumeBackup action = "resume"    // it goes on from the state on record
	removeUnit   action = "remove"    // a pair of ours that serves no lease
	leaveUnit    action = "leave"     // a pair that looks like ours, and is not known to be
)

// planBackups says what becomes of the backups that were active when the last agent ended.
func planBackups(active []backup.Backup) []step {
	steps := make([]step, 0, len(active))
	for _, b := range active {
		s := step{action: resumeBackup, backupID: b.ID, reason: "it is " + string(b.State)}
		switch b.State {
		case backup.Preparing, backup.Exporting:
			s.action, s.reason = undoBackup, "the agent ended before the SNA was asked"
		case backup.Calling:
			s.action, s.reason = unresolve, "the agent ended while the SNA was being asked"
		}
		steps = append(steps, s)
	}
	return steps
}

// planUnits says what becomes of the units that carry our prefix. A pair is ours when a record names it, and its service
// was started as that record says: InvocationID is systemd's own name for one life of a unit. A pair of ours that serves no
// active backup is removed. One that no record names is left alone: it may be anybody's.
func planUnits(loaded []units.Unit, slice string, record func(backupID string) (backup.Backup, bool)) []step {
	var steps []step
	for _, u := range loaded {
		id := backupOf(u.Name)
		b, known := record(id)
		d := runOf(b, u.Name)
		s := step{action: leaveUnit, backupID: id, unit: u.Name}
		switch {
		case !known:
			s.reason = "no backup of that name is on record"
		case d == nil:
			s.reason = fmt.Sprintf("backup %s has no such unit", id)
		case u.ActiveState != "" && u.Slice != slice:
			s.reason = fmt.Sprintf("it is in slice %s, not %s", u.Slice, slice)
		case d.InvocationID != "" && u.InvocationID != "" && u.InvocationID != d.InvocationID:
			s.reason = "its service was not started by the agent"
		case b.State.Active():
			continue
		default:
			s.action, s.reason = removeUnit, fmt.Sprintf("backup %s is %s", id, b.State)
		}
		steps = append(steps, s)
	}
	return steps
}

// backupOf is the id of the backup in the name of a unit: sendense-nbd-<backup id>-disk<N>-<nonce>.
func backupOf(unit string) string {
	name := strings.TrimPrefix(unit, unitPrefix)
	if i := strings.LastIndex(name, "-disk"); i >= 0 {
		return name[:i]
	}
	return ""
}

func runOf(b backup.Backup, unit string) *backup.DiskRun {
	for i := range b.Runs {
		if b.Runs[i].Unit == unit {
			return &b.Runs[i]
		}
	}
	return nil
}

// recover takes up every backup that was active when the last agent ended.
func (a *Agent) recover() error {
	active, err := a.store.Active()
	if err != nil {
		return fmt.Errorf("reading the active backups: %w", err)
	}
	for _, s := range planBackups(active) {
		a.log.Info("backup taken up", logBackupID, s.backupID, "action", string(s.action), logReason, s.reason)
		if err := a.takeUp(s); err != nil {
			return fmt.Errorf("backup %s: %w", s.backupID, err)
		}
	}
	return nil
}

func (a *Agent) takeUp(s step) error {
	b, err := a.store.Backup(s.backupID)
	if err != nil {
		return err
	}
	switch s.action {
	case undoBackup:
		interrupted := failureOf(errorf(ShuttingDown, "backup %s: %s", s.backupID, s.reason))
		b, err = a.advance(s.backupID, backup.Undoing, func(b *backup.Backup) { b.Failure = interrupted })
	case unresolve:
		b, err = a.advance(s.backupID, backup.Unresolved, nil)
	}
	if err != nil {
		return err
	}
	_, err = a.launch(b)
	return err
}

// leftoverInterval is how often repositories are looked through for what undone backups have left in them: a repository
// that was away when a backup was undone gives it back when it returns.
const leftoverInterval = 10 * time.Minute

// sweepImages removes, now and then, the directories of backups that failed or were cancelled. A directory whose backup is
// not on record, or did not make it, is left alone.
func (a *Agent) sweepImages() {
	for {
		for _, repo := range a.repositories {
			list, err := repo.Unpublished()
			if err != nil {
				a.log.Warn("repository cannot be looked through", logError, err)
			}
			for _, u := range list {
				a.removeLeftover(repo, u)
			}
		}
		if !pause(a.work, leftoverInterval) {
			return
		}
	}
}

func (a *Agent) removeLeftover(repo *repository.Repository, u repository.Unpublished) {
	b, err := a.store.Backup(u.BackupID)
	if err != nil || b.State != backup.Failed && b.State != backup.Cancelled ||
		b.Repository != repo.ID || nbd.DirName(b.VM.Name) != u.VM {
		return
	}
	remove := repo.RemoveEmptyDir
	if b.DirectoryMade {
		remove = repo.RemoveDir
	}
	a.log.Warn("what an undone backup left is removed", logBackupID, b.ID, logDirectory, repo.Dir(u.VM, u.BackupID))
	if err := remove(u.VM, u.BackupID); err != nil {
		a.log.Error("what an undone backup left cannot be removed", logBackupID, b.ID, logError, err)
	}
}

// sweepTimeout bounds one look for units that serve nothing.
const sweepTimeout = 2 * time.Minute

// sweep removes the pairs of ours that serve no active backup. It runs whenever events may have been missed.
func (a *Agent) sweep() {
	ctx, cancel := context.WithTimeout(a.work, sweepTimeout)
	defer cancel()
	loaded, err := a.units.List(ctx, unitPrefix)
	if err != nil {
		a.log.Warn("units cannot be listed", logError, err)
		return
	}
	record := func(id string) (backup.Backup, bool) {
		b, err := a.store.Backup(id)
		return b, err == nil
	}
	for _, s := range planUnits(loaded, a.config.Agent.Slice, record) {
		if s.action == leaveUnit {
			a.log.Warn("a unit that looks like an exporter is left alone", logUnit, s.unit, logReason, s.reason)
			continue
		}
		a.log.Warn("an exporter that serves nothing is removed", logUnit, s.unit, logReason, s.reason)
		if err := a.units.Remove(ctx, s.unit); err != nil {
			a.log.Error("the exporter cannot be removed", logUnit, s.unit, logError, err)
		}
	}
}
