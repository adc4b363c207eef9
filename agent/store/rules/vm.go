package rules

import (
	"errors"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// CheckIdle returns an *ActiveError when a VM of that name has an active backup.
func CheckIdle(t *dbfile.Tx, vm string) error {
	id := t.Bucket(schema.BucketActive).Get([]byte(vm))
	if id == nil {
		return nil
	}
	b, err := schema.Indexed(t, schema.BucketActive, []byte(vm), id)
	if err != nil {
		return err
	}
	return &ActiveError{VM: vm, BackupID: b.ID, State: b.State}
}

// CheckAlias returns an *ActiveError when the same VM has an active backup under another name. The names are given by the hub;
// the inventory path tells which VM it is. A second snapshot would destroy the first. The backup except is left out.
func CheckAlias(t *dbfile.Tx, vm record.VM, except string) error {
	return t.Bucket(schema.BucketActive).ForEach(func(k, id []byte) error {
		b, err := schema.Indexed(t, schema.BucketActive, k, id)
		if err != nil {
			return err
		}
		if b.ID != except && b.VM.Same(vm) {
			return &ActiveError{VM: b.VM.Name, BackupID: b.ID, State: b.State}
		}
		return nil
	})
}

// CheckCool returns a *CoolingError when the VM cools down: under this name or under another one, as the record of the earlier
// backup tells.
func CheckCool(t *dbfile.Tx, vm record.VM, now time.Time) error {
	return schema.EachCooling(t, schema.BucketCoolingVMs, func(key []byte, c schema.Stamp) error {
		if !c.Until.After(now) {
			return nil
		}
		if string(key) != vm.Name {
			b, err := schema.Backup(t, c.BackupID)
			var gone *schema.NotFoundError
			if errors.As(err, &gone) {
				return nil
			}
			if err != nil || !b.VM.Same(vm) {
				return err
			}
		}
		return &CoolingError{VM: string(key), BackupID: c.BackupID, Until: c.Until}
	})
}

// cools says whether its VM still cools down from an ended backup.
func cools(t *dbfile.Tx, b record.Backup, now time.Time) (bool, error) {
	found := false
	err := schema.EachCooling(t, schema.BucketCoolingVMs, func(_ []byte, c schema.Stamp) error {
		found = found || c.BackupID == b.ID && c.Until.After(now)
		return nil
	})
	return found, err
}
