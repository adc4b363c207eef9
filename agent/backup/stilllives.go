package backup

import (
	"time"

	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// putOffEvery is how often, at the most, a cool-down is put off: SBC reports every 5 seconds.
const putOffEvery = 30 * time.Second

// stillLives takes a message of the SBC of a backup that has failed or was cancelled: it still reads its snapshot, so the cool-down
// begins anew. One whose cool-down is over is told in the log, for a newer client may be destroying its snapshot.
func (c *Clients) stillLives(b record.Backup) {
	cooldown := c.Config.SNA.Cooldown.Std()
	if b.State != record.Failed && b.State != record.Cancelled || b.CooldownUntil.IsZero() || cooldown <= 0 {
		return
	}
	if !c.Ports.Cooldowns.PutOff(b, cooldown, min(putOffEvery, cooldown/4)) {
		return
	}
	_, err := c.Records.Change(b.ID, func(b *record.Backup) error {
		b.CooldownUntil = time.Now().Add(cooldown)
		return nil
	})
	if err != nil {
		c.Log.Warn("the client of an ended backup is still running, and its cool-down cannot be extended: "+
			"end the process on the SNA, or it and a newer backup may remove each other's snapshots", logkey.BackupID, b.ID, logkey.VM, b.VM.Name, logkey.Error, err)
		return
	}
	c.Log.Info("the client of an ended backup is still running: the cool-down starts again", logkey.BackupID, b.ID, logkey.VM, b.VM.Name)
}
