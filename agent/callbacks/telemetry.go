package callbacks

import (
	"errors"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// Telemetry keeps what SBC reports about itself, in addition to the agent's own figures.
func (s *Service) Telemetry(id string, t record.Telemetry) error {
	b, err := s.Records.Backup(id)
	if err != nil {
		return err
	}
	j := s.Backups.Job(id)
	if j == nil {
		s.extendCooldown(b)
		return fault.New(fault.WrongState, "backup %s is %s", id, b.State).OfBackup(id)
	}
	j.Tell(b, t)
	if t.Error != "" {
		s.Log.Warn("the backup client reports an error", logkey.BackupID, id, logkey.Error, errors.New(t.Error))
	}
	return nil
}
