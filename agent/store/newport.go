package store

import (
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
)

// WithNewPort exchanges the lease of one disk for one on the next free port, with a new nonce, because a foreign process uses
// the port. complete fills in what depends on port and nonce, as Preparation.Complete does: the Unit of the disk, and Targets
// if they are set. Update returns a *StateError after the state exporting: then the SNA may know the port.
func WithNewPort(diskID int, ports PortChooser, complete func(b *record.Backup, lease record.Lease)) Option {
	return func(u *backupUpdate) {
		u.allow = func(_ *dbfile.Tx, before record.Backup) error {
			if before.State != record.Preparing && before.State != record.Exporting {
				return &rules.StateError{BackupID: before.ID, State: before.State, Action: "exchanging a port"}
			}
			return nil
		}
		u.lease = func(t *dbfile.Tx, b record.Backup, now time.Time) (record.Backup, error) {
			run := b.Run(diskID)
			if run == nil {
				return b, fmt.Errorf("backup %s: disk %d: not a disk of this backup", b.ID, diskID)
			}
			lease, err := exchangeLease(t, record.Lease{Port: run.Port, BackupID: b.ID, DiskID: diskID}, ports, now)
			if err != nil {
				return b, fmt.Errorf("backup %s: disk %d: %w", b.ID, diskID, err)
			}
			run.Port = lease.Port
			return completeBackup(t, b, []record.Lease{lease}, func(b *record.Backup) { complete(b, lease) })
		}
	}
}

// WithNewRestorePort exchanges the lease of one disk of a restore, as WithNewPort does that of a backup. UpdateRestore returns
// an error after the state exporting: then a client may know the port.
func WithNewRestorePort(diskID int, ports PortChooser, complete func(r *record.Restore, lease record.Lease)) RestoreOption {
	return func(u *restoreUpdate) {
		u.lease = func(t *dbfile.Tx, r record.Restore, now time.Time) (record.Restore, error) {
			d := r.Disk(diskID)
			if d == nil || r.State != record.RestorePreparing && r.State != record.RestoreExporting {
				return r, fmt.Errorf("restore %s: disk %d: exchanging a port is not possible while it is %s", r.ID, diskID, r.State)
			}
			lease, err := exchangeLease(t, record.Lease{Port: d.Port, RestoreID: r.ID, DiskID: diskID}, ports, now)
			if err != nil {
				return r, fmt.Errorf("restore %s: disk %d: %w", r.ID, diskID, err)
			}
			d.Port = lease.Port
			return completeRestore(t, r, []record.Lease{lease}, func(r *record.Restore) { complete(r, lease) })
		}
	}
}

// exchangeLease returns the lease of a disk and makes one on the next free port.
func exchangeLease(t *dbfile.Tx, old record.Lease, ports PortChooser, now time.Time) (record.Lease, error) {
	if err := dropCooled(t, now); err != nil {
		return old, err
	}
	// The old port is given back last, so that it is not chosen again at once.
	port, err := choosePorts(t, ports, 1)
	if err != nil {
		return old, err
	}
	lease := record.Lease{Port: port[0], BackupID: old.BackupID, RestoreID: old.RestoreID, DiskID: old.DiskID, LeasedAt: now}
	if lease, err = writeLease(t, lease); err != nil {
		return old, err
	}
	return lease, returnLease(t, old.Port, old.Owner())
}
