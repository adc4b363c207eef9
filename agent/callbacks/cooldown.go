package callbacks

import (
	"time"

	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// extendEvery is the shortest time between two extensions of a cool-down: SBC reports every 5 seconds.
const extendEvery = 30 * time.Second

// extendCooldown handles a message of the SBC of a failed or canceled backup: SBC still reads its snapshot, so the cool-down starts
// again. If the cool-down is already over, it logs that too, because a newer client may remove the snapshot.
func (s *Service) extendCooldown(b record.Backup) {
	cooldown := s.Config.SNA.Cooldown.Std()
	if b.State != record.Failed && b.State != record.Cancelled || b.CooldownUntil.IsZero() || cooldown <= 0 {
		return
	}
	if !s.Ports.Cooldowns.PutOff(b, cooldown, min(extendEvery, cooldown/4)) {
		return
	}
	_, err := s.Records.Change(b.ID, func(b *record.Backup) error {
		b.CooldownUntil = time.Now().Add(cooldown)
		return nil
	})
	if err != nil {
		s.Log.Warn("the client of an ended backup is still running, and its cool-down cannot be extended: "+
			"end the process on the SNA, or it and a newer backup may remove each other's snapshots", logkey.BackupID, b.ID, logkey.VM, b.VM.Name, logkey.Error, err)
		return
	}
	s.Log.Info("the client of an ended backup is still running: the cool-down starts again", logkey.BackupID, b.ID, logkey.VM, b.VM.Name)
}
