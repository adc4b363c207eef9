package rules

import (
	"errors"
	"strings"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Stray says whether a lease belongs to no active backup or restore.
func Stray(t *dbfile.Tx, l record.Lease) (bool, error) {
	held, err := holds(t, l)
	var missing *schema.NotFoundError
	if errors.As(err, &missing) {
		return true, nil
	}
	return err == nil && !held, err
}

// holds says whether the backup or restore that a lease names is active and has the lease's port.
func holds(t *dbfile.Tx, l record.Lease) (bool, error) {
	if l.RestoreID != "" {
		r, err := schema.Restore(t, l.RestoreID)
		d := r.Disk(l.DiskID)
		return err == nil && r.State.Active() && d != nil && d.Port == l.Port && strings.Contains(d.Unit, l.Nonce), err
	}
	b, err := schema.Backup(t, l.BackupID)
	run := b.Run(l.DiskID)
	return err == nil && b.State.Active() && run != nil && run.Port == l.Port && strings.Contains(run.Unit, l.Nonce), err
}
