package backup

import (
	"errors"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// Telemetry keeps what SBC reports about itself, in addition to the agent's own figures.
func (c *Clients) Telemetry(id string, t record.Telemetry) error {
	b, err := c.Records.Backup(id)
	if err != nil {
		return err
	}
	j := c.Backups.jobOf(id)
	if j == nil {
		c.extendCooldown(b)
		return fault.New(fault.WrongState, "backup %s is %s", id, b.State).OfBackup(id)
	}
	j.meter.mu.Lock()
	j.meter.telemetry = &t
	j.meter.mu.Unlock()
	if t.Error != "" {
		c.Log.Warn("the backup client reports an error", logkey.BackupID, id, logkey.Error, errors.New(t.Error))
	}
	return nil
}
