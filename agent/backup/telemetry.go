package backup

import (
	"errors"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// Telemetry keeps what SBC says of itself, as a hint beside our own figures.
func (c *Clients) Telemetry(id string, t record.Telemetry) error {
	b, err := c.Records.Backup(id)
	if err != nil {
		return err
	}
	r := c.Backups.run(id)
	if r == nil {
		c.stillLives(b)
		return fault.New(fault.WrongState, "backup %s is %s", id, b.State).OfBackup(id)
	}
	r.meter.mu.Lock()
	r.meter.telemetry = &t
	r.meter.mu.Unlock()
	if t.Error != "" {
		c.Log.Warn("the backup client reports an error", logkey.BackupID, id, logkey.Error, errors.New(t.Error))
	}
	return nil
}
