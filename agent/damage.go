package agent

import "github.com/sendense/backup-agent/agent/record"

// DamagedPoints is how many restore points are known to be damaged, be it by what they stand on.
func (a *Agent) DamagedPoints() (int, error) { return a.store.DamagedPoints() }

// tellDamage tells whoever watches, and the log, of the restore points whose damage has changed with that of one that they stand on.
func (a *Agent) tellDamage(p record.Backup, was []string) {
	is, err := a.store.DamagedBy(p.ID)
	if err != nil {
		a.log.Error("the database cannot be read", logError, err)
	}
	for _, id := range append(is, was...) { // one of the two is empty
		b, err := a.store.Backup(id)
		if err != nil {
			continue // it is being deleted
		}
		a.watchers.tell(Event{Kind: EventState, Backup: b})
		switch {
		case b.Damaged():
			a.log.Error("a restore point stands on a damaged one", logBackupID, id, logVM, b.VM.Name, logStandsOn, p.ID)
		default:
			a.log.Info("a restore point stands on no damaged one any more", logBackupID, id, logVM, b.VM.Name)
		}
	}
}
