package store

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
)

// Enqueue puts a backup on record in state queued, without runs and leases. It is the active backup of the VM and pins its
// parent. It does not use Ports and Complete of the Preparation. Otherwise it is Prepare.
func (s *Store) Enqueue(p Preparation) (b record.Backup, existing bool, err error) {
	return s.add(p, func(t *dbfile.Tx) (record.Backup, error) { return admit(t, p, record.Queued) })
}

// WithLeases leases a port for every disk of a queued backup that moves to preparing. ports and complete are those of a
// Preparation. Update returns a *StateError when the backup is not queued, or does not move to preparing. The VM of a queued
// backup may have changed: Update returns an *ActiveError or a *CoolingError when the VM has an active backup, or cools down,
// under another name.
func WithLeases(ports PortChooser, complete func(b *record.Backup, leases []record.Lease)) Option {
	return func(u *backupUpdate) {
		u.allow = func(_ *dbfile.Tx, before record.Backup) error {
			if before.State != record.Queued {
				return &rules.StateError{BackupID: before.ID, State: before.State, Action: "preparing it"}
			}
			return nil
		}
		u.lease = func(t *dbfile.Tx, b record.Backup, now time.Time) (record.Backup, error) {
			if b.State != record.Preparing {
				return b, &rules.StateError{BackupID: b.ID, State: b.State, Action: "leasing its ports"}
			}
			if err := rules.CheckAlias(t, b.VM, b.ID); err != nil {
				return b, err
			}
			if err := rules.CheckCool(t, b.VM, now); err != nil {
				return b, err
			}
			if err := dropCooled(t, now); err != nil {
				return b, err
			}
			return equip(t, b, now, ports, complete)
		}
	}
}
