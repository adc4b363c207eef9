// Package rules says which changes of the records are allowed. Each rule reads in the transaction of a caller. It returns nil,
// or an error of its own type that says why not. It never writes.
package rules

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// CheckUpdate refuses what store.Update does not allow.
func CheckUpdate(t *dbfile.Tx, before, after record.Backup, now time.Time) error {
	if err := CheckImmutable(before, after); err != nil {
		return err
	}
	if err := CheckUnits(before, after, nil); err != nil {
		return err
	}
	if after.State != before.State {
		if err := record.CheckTransition(before.State, after.State); err != nil {
			return fmt.Errorf("backup %s: %w", before.ID, err)
		}
	}
	if after.State == record.Deleting && before.State != record.Deleting {
		if err := errors.Join(checkUnpinned(t, before), checkUnserved(t, before.ID)); err != nil {
			return err
		}
	}
	if after.Parent != before.Parent {
		if err := CheckParent(t, after); err != nil {
			return err
		}
	}
	if err := checkMerge(t, before, after); err != nil {
		return err
	}
	return checkCooldown(t, before, after, now)
}

// checkCooldown refuses a time that cannot be encoded, and a longer cool-down of ports and VMs that may be in use again.
func checkCooldown(t *dbfile.Tx, before, after record.Backup, now time.Time) error {
	if after.CooldownUntil.Equal(before.CooldownUntil) {
		return nil
	}
	if before.State.Terminal() && after.CooldownUntil.After(before.CooldownUntil) {
		if cools, err := cools(t, before, now); err != nil || !cools {
			return cmp.Or(err, fmt.Errorf("backup %s: cooldown_until: its cool-down is over: it cannot be extended", before.ID))
		}
	}
	if after.CooldownUntil.IsZero() {
		return nil
	}
	return schema.CheckTime("cooldown_until", after.CooldownUntil)
}

// CheckCorrectable refuses to correct what is not a restore point, is read, or is being merged.
func CheckCorrectable(t *dbfile.Tx, b record.Backup) error {
	switch {
	case b.State != record.Completed:
		return &StateError{BackupID: b.ID, State: b.State, Action: "correcting it from its manifest"}
	case b.Merge != nil:
		return &MergingError{BackupID: b.ID}
	}
	return checkUnread(t, b)
}

// CheckCorrected refuses a correction of what never changes. The type follows the parent.
func CheckCorrected(before, after record.Backup) error {
	before.Type = after.Type
	if after.State != before.State || after.Directory != before.Directory {
		return &ImmutableError{BackupID: before.ID, Field: "state and directory"}
	}
	return CheckImmutable(before, after)
}

// CheckImmutable returns an *ImmutableError when a field differs that indexes or leases depend on.
func CheckImmutable(before, after record.Backup) error {
	for _, f := range []struct {
		field string
		same  bool
	}{
		{"backup_id", after.ID == before.ID},
		{"vm_name", after.VM.Name == before.VM.Name},
		{"backup_type", after.Type == before.Type || becomesFull(before, after)},
		{"repository_id", after.Repository == before.Repository},
		{"request_id", after.RequestID == before.RequestID},
		{"parent", after.Parent == before.Parent || before.State.Terminal()},
		{"sequence", after.Sequence == before.Sequence},
		{"created_at", after.CreatedAt.Equal(before.CreatedAt)},
		{"number of disks", len(after.Runs) == len(before.Runs)},
	} {
		if !f.same {
			return &ImmutableError{BackupID: before.ID, Field: f.field}
		}
	}
	for i, run := range before.Runs {
		if after.Runs[i].DiskID != run.DiskID || after.Runs[i].Port != run.Port {
			return &ImmutableError{BackupID: before.ID, Field: "disk_id and nbd_port of disk " + strconv.Itoa(run.DiskID)}
		}
	}
	return nil
}

// becomesFull says whether a merge without a new parent has just made a full backup of an incremental.
func becomesFull(before, after record.Backup) bool {
	return before.Merge != nil && before.Merge.Committing && before.Merge.NewParent == "" && after.Merge == nil &&
		after.Type == record.Full && after.Parent == ""
}

// CheckUnits returns an error when the name of a unit lacks the nonce of a new lease, or when any other unit is renamed. By the
// nonce the agent knows its units.
func CheckUnits(before, after record.Backup, leases []record.Lease) error {
	nonces := map[int]string{}
	for _, l := range leases {
		nonces[l.DiskID] = l.Nonce
	}
	for i, run := range before.Runs {
		nonce, fresh := nonces[run.DiskID]
		unit := after.Runs[i].Unit
		if fresh && !strings.Contains(unit, nonce) {
			return fmt.Errorf("backup %s: disk %d: unit %q does not hold the nonce %s of the lease", before.ID, run.DiskID, unit, nonce)
		}
		if !fresh && unit != run.Unit {
			return &ImmutableError{BackupID: before.ID, Field: "unit of disk " + strconv.Itoa(run.DiskID)}
		}
	}
	return nil
}
