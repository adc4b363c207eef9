package store

import (
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// Relet exchanges the lease of one disk for one on the next free port, with a fresh nonce: a process of somebody else
// holds the first. complete fills in what depends on port and nonce, as Preparation.Complete does: the disk's Unit,
// and Targets if they are there already. It is refused with a *StateError once the backup is past exporting, when the
// SNA may know the port.
func (s *Store) Relet(
	backupID string, diskID int, ports PortChooser, now time.Time, complete func(b *record.Backup, lease record.Lease),
) (record.Backup, error) {
	if err := checkTime("now", now); err != nil {
		return record.Backup{}, err
	}
	now = stored(now)
	var b record.Backup
	err := s.update(func(t *tx) error {
		before, err := t.backup(backupID)
		if err != nil {
			return err
		}
		if before.State != record.Preparing && before.State != record.Exporting {
			return &StateError{BackupID: backupID, State: before.State, Action: "exchanging a port"}
		}
		b, err = t.relet(before, diskID, ports, now, complete)
		return err
	})
	if err != nil {
		return record.Backup{}, err
	}
	return b, nil
}

func (t *tx) relet(
	before record.Backup, diskID int, ports PortChooser, now time.Time, complete func(*record.Backup, record.Lease),
) (record.Backup, error) {
	b, err := clone(before)
	if err != nil {
		return b, err
	}
	run := b.Run(diskID)
	if run == nil {
		return b, fmt.Errorf("backup %s: disk %d: not a disk of this backup", b.ID, diskID)
	}
	if err := t.dropCooled(now); err != nil {
		return b, err
	}
	// The old port is given back last, so that it is not chosen again at once.
	port, err := t.choosePorts(ports, 1)
	if err != nil {
		return b, fmt.Errorf("backup %s: disk %d: %w", b.ID, diskID, err)
	}
	lease, err := t.lease(record.Lease{Port: port[0], BackupID: b.ID, DiskID: diskID, LeasedAt: now})
	if err != nil {
		return b, err
	}
	if err := t.returnLease(run.Port, b.ID); err != nil {
		return b, err
	}
	run.Port = lease.Port
	b.UpdatedAt = now
	b, err = t.complete(b, []record.Lease{lease}, func(b *record.Backup) { complete(b, lease) })
	if err != nil {
		return b, err
	}
	return b, t.write(before, b)
}
