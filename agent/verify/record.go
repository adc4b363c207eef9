package verify

import (
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// recordVerification writes down what was found of one restore point, and returns whether that is on record. What could not be
// looked at leaves the record as it was: it is still due.
func (s *Service) recordVerification(p record.Backup, deep bool, files []FileReport) bool {
	now, result := time.Now(), resultOfFiles(files)
	s.Metrics.Verified(deep, result)
	s.logVerification(p, deep, result, files)
	if result == record.VerifiedIncomplete && !onlyUndigested(files) {
		return false
	}
	return s.putVerification(p, func(before *record.Verification) *record.Verification {
		return mergeVerification(before, now, deep, files)
	})
}

// putVerification writes down what is known of the files of a restore point. Where it is damaged now and was not, or the other way
// round, so is all that stands on it: whoever watches is told of each.
func (s *Service) putVerification(p record.Backup, merge func(*record.Verification) *record.Verification) bool {
	was, err := s.Store.DamagedBy(p.ID)
	if err != nil {
		s.Log.Error("the database cannot be read", logkey.Error, err)
	}
	changed := false
	failpoint.Reach("verify: before record")
	_, err = s.Records.Update(p.ID, func(b *record.Backup) error {
		if b.State != record.Completed { // it is no restore point any more
			return nil
		}
		before := b.Verified
		b.Verified = merge(before)
		changed = (before != nil && len(before.Damage) > 0) != (len(b.Verified.Damage) > 0)
		return nil
	})
	failpoint.Reach("verify: recorded")
	if err != nil && !fault.From(ledger.NotFound(err)).Has(fault.BackupNotFound) {
		s.Log.Error("the result of a verification cannot be recorded", logkey.BackupID, p.ID, logkey.Error, err)
	}
	if err == nil && changed {
		s.tellDamage(p, was)
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
		if f.Status == FileDamaged && !chain.KnownDamage(after.Damage, f.file()) {
			after.Damage = append(after.Damage, record.FileDamage{File: f.file(), DiskID: f.DiskID, Problem: f.Problem, Deep: f.deep})
		}
	}
	return &after
}

func (f FileReport) file() string { return f.Path[strings.LastIndexByte(f.Path, '/')+1:] }

func (s *Service) logVerification(p record.Backup, deep bool, result string, files []FileReport) {
	for _, f := range files {
		switch f.Status {
		case FileDamaged:
			s.Log.Error("a file of a restore point is damaged", logkey.BackupID, p.ID, logkey.VM, p.VM.Name, logkey.File, f.Path, logkey.Error, f.Problem)
		case FileUnreadable:
			s.Log.Warn("a file of a restore point cannot be read", logkey.BackupID, p.ID, logkey.VM, p.VM.Name, logkey.File, f.Path, logkey.Error, f.Problem)
		}
	}
	s.Log.Info("restore point verified", logkey.BackupID, p.ID, logkey.VM, p.VM.Name, "deep", deep, "result", result)
}

// RecordDamage writes down that the content of an image is not what was written, which was found by reading it alone: of the restore
// point's other files nothing new is known.
func (s *Service) RecordDamage(p record.Backup, f FileReport) {
	now := time.Now()
	s.logVerification(p, true, record.VerifiedDamaged, []FileReport{f})
	s.putVerification(p, func(before *record.Verification) *record.Verification {
		after := record.Verification{At: now}
		if before != nil {
			after = *before
		}
		if !chain.KnownDamage(after.Damage, f.file()) {
			after.Damage = append(slices.Clone(after.Damage), record.FileDamage{File: f.file(), DiskID: f.DiskID, Problem: f.Problem, Deep: true})
		}
		return &after
	})
}
