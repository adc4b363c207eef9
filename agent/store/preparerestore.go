package store

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// A RestorePreparation asks for a new restore.
type RestorePreparation struct {
	// Restore says what to serve: BackupID, VMName, Repository, Writable, ExpiresAt, LatestAt, and of each disk
	// DiskID, Key, Label and CapacityBytes. Everything else is set by PrepareRestore.
	Restore record.Restore
	Now     time.Time
	Limit   int                     // limit of active restores; 0 = no limit
	ID      func(unix int64) string // the id of the restore; different for every second
	Ports   PortChooser

	// Complete fills in what depends on id, ports and nonces. It runs inside the transaction, so it must only compute.
	Complete func(r *record.Restore, leases []record.Lease)
}

// PrepareRestore puts a restore on record in state preparing, with a lease for every disk, or changes nothing. The restore
// point and all that it is based on must be completed. They are pinned while the restore is active: they cannot be deleted. It
// returns a *NotFoundError or a *StateError for a backup that is not a restore point, and a *RestoresError when the limit of
// active restores is reached.
func (s *Store) PrepareRestore(p RestorePreparation) (record.Restore, error) {
	if err := schema.CheckTime("now", p.Now); err != nil {
		return record.Restore{}, err
	}
	var r record.Restore
	err := s.file.Update(func(t *dbfile.Tx) (err error) {
		if first, found, err := firstRestore(t, p.Restore); err != nil {
			return err
		} else if found {
			return &RestoreRequestedError{Restore: first}
		}
		if active := schema.Count(t, schema.BucketActiveRestores); p.Limit > 0 && active >= p.Limit {
			return &RestoresError{Active: active, Limit: p.Limit}
		}
		if r, err = newRestore(t, p); err != nil {
			return err
		}
		if err := t.Bucket(schema.BucketActiveRestores).Put([]byte(r.ID), []byte{}); err != nil {
			return err
		}
		if err := schema.Put(t, schema.BucketRestores, []byte(r.ID), r); err != nil {
			return err
		}
		return forgetRestores(t)
	})
	if err != nil {
		return record.Restore{}, err
	}
	return r, nil
}

// A RestoreRequestedError says that the restore of a request is on record already.
type RestoreRequestedError struct{ Restore record.Restore }

func (e *RestoreRequestedError) Error() string {
	return "restore " + e.Restore.ID + " was made for request " + e.Restore.RequestID
}

// firstRestore finds the restore of the same request, while it is on record. There is no index: there are few restores.
func firstRestore(t *dbfile.Tx, now record.Restore) (record.Restore, bool, error) {
	if now.RequestID == "" {
		return record.Restore{}, false, nil
	}
	if err := record.ValidName("request_id", now.RequestID); err != nil {
		return record.Restore{}, false, err
	}
	list, err := schema.Restores(t)
	if err != nil {
		return record.Restore{}, false, err
	}
	for _, first := range list {
		if first.RequestID != now.RequestID {
			continue
		}
		for _, f := range []struct{ field, first, now string }{
			{"backup_id", first.BackupID, now.BackupID},
			{"disks", diskList(first), diskList(now)},
			{"writable", strconv.FormatBool(first.Writable), strconv.FormatBool(now.Writable)},
			{"despite_damage", strconv.FormatBool(first.DespiteDamage), strconv.FormatBool(now.DespiteDamage)},
			{"verify_digests", strconv.FormatBool(first.VerifyDigests), strconv.FormatBool(now.VerifyDigests)},
		} {
			if f.first != f.now {
				return first, false, &RequestMismatchError{
					RequestID: now.RequestID, BackupID: first.ID, Field: f.field, First: f.first, Now: f.now,
				}
			}
		}
		return first, true, nil
	}
	return record.Restore{}, false, nil
}

func diskList(r record.Restore) string {
	var ids []int
	for _, d := range r.Disks {
		ids = append(ids, d.DiskID)
	}
	return fmt.Sprint(ids)
}

// newRestore makes the record of a restore and its leases.
func newRestore(t *dbfile.Tx, p RestorePreparation) (record.Restore, error) {
	r, err := schema.CloneRestore(p.Restore)
	if err != nil {
		return r, err
	}
	if r.Points, err = rules.Chain(t, r.BackupID); err != nil {
		return r, err
	}
	if err := dropCooled(t, p.Now); err != nil {
		return r, err
	}
	if r.ID, err = freshRestoreID(t, p); err != nil {
		return r, err
	}
	now := schema.Stored(p.Now)
	r.State, r.CreatedAt, r.UpdatedAt, r.EndedAt = record.RestorePreparing, now, now, time.Time{}
	r.ExpiresAt, r.LatestAt = schema.Stored(r.ExpiresAt), schema.Stored(r.LatestAt)
	ports, err := choosePorts(t, p.Ports, len(r.Disks))
	if err != nil {
		return r, fmt.Errorf("restore of backup %s: %w", r.BackupID, err)
	}
	leases := make([]record.Lease, len(ports))
	for i := range r.Disks {
		leases[i], err = writeLease(t, record.Lease{Port: ports[i], RestoreID: r.ID, DiskID: r.Disks[i].DiskID, LeasedAt: now})
		if err != nil {
			return r, err
		}
		r.Disks[i].Port = ports[i]
	}
	return completeRestore(t, r, leases, func(r *record.Restore) { p.Complete(r, leases) })
}

func freshRestoreID(t *dbfile.Tx, p RestorePreparation) (string, error) {
	for ahead := range int64(maxSecondsAhead) {
		var id string
		t.Call(func() { id = p.ID(p.Now.Unix() + ahead) })
		if err := record.ValidName("restore_id", id); err != nil {
			return "", err
		}
		if t.Bucket(schema.BucketRestores).Get([]byte(id)) == nil {
			return id, nil
		}
	}
	return "", fmt.Errorf("backup %s: no unused restore_id within %d seconds of now: set the clock", p.Restore.BackupID, maxSecondsAhead)
}

// completeRestore has the caller fill in the names, and checks that the name of each unit has the nonce of its lease.
func completeRestore(t *dbfile.Tx, r record.Restore, leases []record.Lease, fill func(*record.Restore)) (record.Restore, error) {
	after, err := schema.CloneRestore(r)
	if err != nil {
		return r, err
	}
	t.Call(func() { fill(&after) })
	for _, l := range leases {
		if d := after.Disk(l.DiskID); d == nil || !strings.Contains(d.Unit, l.Nonce) {
			return r, fmt.Errorf("restore %s: disk %d: its unit does not hold the nonce %s of the lease", r.ID, l.DiskID, l.Nonce)
		}
	}
	if want, got := rules.Lasting(r, false), rules.Lasting(after, false); after.State != r.State || !reflect.DeepEqual(want, got) {
		return r, fmt.Errorf("restore %s: only what depends on its leases may be filled in: %+v, not %+v", r.ID, got, want)
	}
	return after, nil
}
