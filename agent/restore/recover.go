package restore

import (
	"fmt"
	"strings"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// Recover takes over every restore that was active when the last agent ended. It ends a restore that was not served yet, because
// its caller got no answer.
func (s *Service) Recover() error {
	active, err := s.Store.ActiveRestores()
	if err != nil {
		return fmt.Errorf("reading the active restores: %w", err)
	}
	for _, r := range active {
		s.Log.Info("restore taken up", logkey.RestoreID, r.ID, logkey.Reason, "it is "+string(r.State))
		if r.State == record.RestorePreparing || r.State == record.RestoreExporting {
			e := fault.New(fault.ShuttingDown, "restore %s: the agent ended before it was served", r.ID)
			if r, err = s.Records.AdvanceRestore(r.ID, record.RestoreStopping, func(r *record.Restore) { r.Failure = job.FailureOf(e) }); err != nil {
				return err
			}
		}
		if _, err := s.launch(r); err != nil {
			return fmt.Errorf("restore %s: %w", r.ID, err)
		}
	}
	return nil
}

// RestoreHolds says whether a lease belongs to an active restore.
func RestoreHolds(r record.Restore, l record.Lease) bool {
	d := r.Disk(l.DiskID)
	return r.State.Active() && d != nil && d.Port == l.Port && strings.Contains(d.Unit, l.Nonce)
}

// SweepScratch removes the overlays of a restore that has ended.
func (s *Service) SweepScratch(id string) error {
	r, err := s.Store.Restore(id)
	if err != nil {
		return err
	}
	if err := s.clearScratch(r); err != nil {
		return err
	}
	_, err = s.Records.ChangeRestore(id, func(r *record.Restore) error {
		r.ScratchMade = false
		return nil
	})
	return err
}
