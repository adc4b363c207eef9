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

// recordVerification records what was found in one restore point, and reports whether it is on record. If a file could not be checked
// and none is damaged, the record is unchanged: the restore point is still due.
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

// putVerification records what is known of the files of a restore point. If it became damaged, or is not damaged any more, the same
// holds for all that is based on it: an event is sent for each.
func (s *Service) putVerification(p record.Backup, merge func(*record.Verification) *record.Verification) bool {
	was, err := s.Store.DamagedBy(p.ID)
	if err != nil {
		s.Log.Error("the database cannot be read", logkey.Error, err)
	}
	changed := false
	failpoint.Reach("verify: before record")
	_, err = s.Records.Update(p.ID, func(b *record.Backup) error {
		if b.State != record.Completed { // it is not a restore point any more
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

// onlyUndigested reports whether every file was checked, although digests may be missing.
func onlyUndigested(files []FileReport) bool {
	for _, f := range files {
		if f.Status == FileUnreadable || f.Status == FileSkipped {
			return false
		}
	}
	return true
}

// mergeVerification is what is known after a verification of a restore point. Damage that only a deep verification can find stays on
// record until a deep verification no longer finds it.
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

// RecordDamage records that the content of one image is damaged. Only that image was read: nothing new is known of the other files of
// the restore point.
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
