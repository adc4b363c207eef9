package store

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sendense/backup-agent/agent/record"
)

// checkImmutable returns an *ImmutableError when something differs that indexes or leases stand on.
func checkImmutable(before, after record.Backup) error {
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

// becomesFull says whether an incremental is a full backup from now on, because its images were written anew.
func becomesFull(before, after record.Backup) bool {
	return before.Merge != nil && before.Merge.Committing && before.Merge.NewParent == "" && after.Merge == nil &&
		after.Type == record.Full && after.Parent == ""
}

// checkUnits returns an error when a unit's name lacks the nonce of a lease that was just made, or when any other unit
// is renamed: by the nonce a unit is known to be ours.
func checkUnits(before, after record.Backup, leases []record.Lease) error {
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
