package verify

import (
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
)

// tellDamage sends an event and logs a line for each restore point that is based on p, after damage of p was found or is gone. was
// lists those that were damaged by p before.
func (s *Service) tellDamage(p record.Backup, was []string) {
	is, err := s.Store.DamagedBy(p.ID)
	if err != nil {
		s.Log.Error("the database cannot be read", logkey.Error, err)
	}
	for _, id := range append(is, was...) { // one of the two is empty
		b, err := s.Store.Backup(id)
		if err != nil {
			continue // it is being deleted
		}
		s.Watchers.Tell(events.Event{Kind: events.State, Backup: b})
		switch {
		case b.Damaged():
			s.Log.Error("a restore point is based on a damaged one", logkey.BackupID, id, logkey.VM, b.VM.Name, logkey.Parent, p.ID)
		default:
			s.Log.Info("a restore point is no longer based on a damaged one", logkey.BackupID, id, logkey.VM, b.VM.Name)
		}
	}
}
