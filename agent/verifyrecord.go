package agent

import (
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
)

// recordVerification writes down what was found of one restore point, and returns whether that is on record. What could not be
// looked at leaves the record as it was: it is still due.
func (a *Agent) recordVerification(p record.Backup, deep bool, files []FileReport) bool {
	now, result := time.Now(), resultOfFiles(files)
	a.metrics.verified(deep, result)
	a.logVerification(p, deep, result, files)
	if result == VerifiedIncomplete && !onlyUndigested(files) {
		return false
	}
	return a.putVerification(p, func(before *record.Verification) *record.Verification {
		return mergeVerification(before, now, deep, files)
	})
}

// putVerification writes down what is known of the files of a restore point. Where it is damaged now and was not, or the other way
// round, so is all that stands on it: whoever watches is told of each.
func (a *Agent) putVerification(p record.Backup, merge func(*record.Verification) *record.Verification) bool {
	was, err := a.store.DamagedBy(p.ID)
	if err != nil {
		a.log.Error("the database cannot be read", logError, err)
	}
	changed := false
	failpoint.Reach("verify: before record")
	_, err = a.changeRecord(p.ID, func(b *record.Backup) error {
		if b.State != record.Completed { // it is no restore point any more
			return nil
		}
		before := b.Verified
		b.Verified = merge(before)
		changed = (before != nil && len(before.Damage) > 0) != (len(b.Verified.Damage) > 0)
		return nil
	})
	failpoint.Reach("verify: recorded")
	if err != nil && !AsError(notFound(err)).has(BackupNotFound) {
		a.log.Error("what a verification has found cannot be put on record", logBackupID, p.ID, logError, err)
	}
	if err == nil && changed {
		a.tellDamage(p, was)
	}
	return err == nil
}

// onlyUndigested says whether all that could be looked at was.
func onlyUndigested(files []FileReport) bool {
	for _, f := range files {
		if f.Status == FileUnreadable || f.Status == FileSkipped {
			return false
		}
	}
	return true
}

// mergeVerification is what is known after a look at the files of a restore point. Damage that only reading can show is gone
// only when reading does not show it any more.
func mergeVerification(before *record.Verification, now time.Time, deep bool, files []FileReport) *record.Verification {
	after := record.Verification{At: now}
	if before != nil && !deep {
		after.DeepAt, after.Undigested = before.DeepAt, before.Undigested
		for _, d := range before.Damage {
			if d.Deep {
				after.Damage = append(after.Damage, d)
			}
		}
	}
	if deep {
		after.DeepAt = now
	}
	for _, f := range files {
		after.Undigested = after.Undigested || f.Status == FileUndigested
		if f.Status == FileDamaged && !knownDamage(after.Damage, f.file()) {
			after.Damage = append(after.Damage, record.FileDamage{File: f.file(), DiskID: f.DiskID, Problem: f.Problem, Deep: f.deep})
		}
	}
	return &after
}

func (f FileReport) file() string { return f.Path[strings.LastIndexByte(f.Path, '/')+1:] }

func knownDamage(list []record.FileDamage, file string) bool {
	for _, d := range list {
		if d.File == file {
			return true
		}
	}
	return false
}

func (a *Agent) logVerification(p record.Backup, deep bool, result string, files []FileReport) {
	for _, f := range files {
		switch f.Status {
		case FileDamaged:
			a.log.Error("a file of a restore point is damaged", logBackupID, p.ID, logVM, p.VM.Name, logFile, f.Path, logError, f.Problem)
		case FileUnreadable:
			a.log.Warn("a file of a restore point cannot be looked at", logBackupID, p.ID, logVM, p.VM.Name, logFile, f.Path, logError, f.Problem)
		}
	}
	a.log.Info("restore point verified", logBackupID, p.ID, logVM, p.VM.Name, "deep", deep, "result", result)
}

// knownDamaged says, as a finding, that a restore point is on record as damaged.
func knownDamaged(p record.Backup) error {
	damage := p.Damage()
	if len(damage) == 0 {
		return nil
	}
	return damagef("restore point %s was found damaged at %s: %s: %s", p.ID, p.Verified.At.Format(time.RFC3339), damage[0].File, damage[0].Problem)
}

// recordDamage writes down that the content of an image is not what was written, which was found by reading it alone: of the restore
// point's other files nothing new is known.
func (a *Agent) recordDamage(p record.Backup, f FileReport) {
	now := time.Now()
	a.logVerification(p, true, VerifiedDamaged, []FileReport{f})
	a.putVerification(p, func(before *record.Verification) *record.Verification {
		after := record.Verification{At: now}
		if before != nil {
			after = *before
		}
		if !knownDamage(after.Damage, f.file()) {
			after.Damage = append(slices.Clone(after.Damage), record.FileDamage{File: f.file(), DiskID: f.DiskID, Problem: f.Problem, Deep: true})
		}
		return &after
	})
}
