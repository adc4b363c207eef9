package rules

import (
	"slices"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// checkUnserved returns a *ServedError when a restore reads a backup.
func checkUnserved(t *dbfile.Tx, backupID string) error {
	active, err := schema.ActiveRestores(t)
	if err != nil {
		return err
	}
	for _, r := range active {
		if slices.Contains(r.Points, backupID) {
			return &ServedError{BackupID: backupID, RestoreID: r.ID}
		}
	}
	return nil
}

// Chain lists a restore point and all that it is based on, the newest first. A restore of it reads them, and so pins them.
func Chain(t *dbfile.Tx, id string) (list []string, err error) {
	for id != "" {
		b, err := schema.Backup(t, id)
		switch {
		case err != nil:
			return nil, err
		case b.State != record.Completed:
			return nil, &StateError{BackupID: id, State: b.State, Action: "restoring from it"}
		case slices.Contains(list, id):
			return nil, t.Damaged("backup %s: is based on itself", id)
		case b.Merge != nil && b.Merge.Committing:
			return nil, &MergingError{BackupID: id}
		}
		list, id = append(list, id), b.Parent
	}
	return list, nil
}

// Lasting is the part of a record that never changes, because leases and pins depend on it. A unit gets its name once.
func Lasting(r record.Restore, units bool) record.Restore {
	l := record.Restore{
		ID: r.ID, BackupID: r.BackupID, VMName: r.VMName, Repository: r.Repository, Points: r.Points, Writable: r.Writable,
		RequestID: r.RequestID, CreatedAt: r.CreatedAt, DespiteDamage: r.DespiteDamage, VerifyDigests: r.VerifyDigests,
	}
	for _, d := range r.Disks {
		kept := record.RestoreDisk{DiskID: d.DiskID, CapacityBytes: d.CapacityBytes, Port: d.Port}
		if units {
			kept.Unit = d.Unit
		}
		l.Disks = append(l.Disks, kept)
	}
	return l
}
