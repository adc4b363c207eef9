package store

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// A RestorePreparation asks for a new restore.
type RestorePreparation struct {
	// Restore says what is to be served: BackupID, VMName, Repository, Writable, ExpiresAt, LatestAt, and of each disk
	// DiskID, Key, Label and CapacityBytes. Everything else is set by PrepareRestore.
	Restore record.Restore
	Now     time.Time
	Most    int                     // most restores that may be active at a time; 0 = no limit
	ID      func(unix int64) string // the id that a restore of this second has
	Ports   PortChooser             //
	// Complete fills in what depends on id, ports and nonces. It runs inside the transaction, so it must only compute.
	Complete func(r *record.Restore, leases []record.Lease)
}

// PrepareRestore puts a restore on record, in state preparing, with a lease for every disk, or changes nothing. The restore
// point and all it stands on must be completed, and are pinned from here on: they cannot be deleted while the restore is
// active. It returns a *NotFoundError or a *StateError where they are not, and a *RestoresError when too many are active.
func (s *Store) PrepareRestore(p RestorePreparation) (record.Restore, error) {
	if err := checkTime("now", p.Now); err != nil {
		return record.Restore{}, err
	}
	var r record.Restore
	err := s.update(func(t *tx) (err error) {
		if first, found, err := t.requestedRestore(p.Restore); err != nil {
			return err
		} else if found {
			return &RestoreRequestedError{Restore: first}
		}
		if active := t.count(bucketActiveRestores); p.Most > 0 && active >= p.Most {
			return &RestoresError{Active: active, Most: p.Most}
		}
		if r, err = t.newRestore(p); err != nil {
			return err
		}
		if err := t.Bucket(bucketActiveRestores).Put([]byte(r.ID), []byte{}); err != nil {
			return err
		}
		if err := t.put(bucketRestores, []byte(r.ID), r); err != nil {
			return err
		}
		return t.forgetRestores()
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

// requestedRestore finds the restore that was made for the same request, as long as it is on record. There is no index: of
// restores there are never many.
func (t *tx) requestedRestore(now record.Restore) (record.Restore, bool, error) {
	if now.RequestID == "" {
		return record.Restore{}, false, nil
	}
	if err := record.ValidName("request_id", now.RequestID); err != nil {
		return record.Restore{}, false, err
	}
	list, err := t.restores()
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

// newRestore makes the record and its leases.
func (t *tx) newRestore(p RestorePreparation) (record.Restore, error) {
	r, err := copyRestore(p.Restore)
	if err != nil {
		return r, err
	}
	if r.Points, err = t.points(r.BackupID); err != nil {
		return r, err
	}
	if err := t.dropCooled(p.Now); err != nil {
		return r, err
	}
	if r.ID, err = t.freshRestoreID(p); err != nil {
		return r, err
	}
	now := stored(p.Now)
	r.State, r.CreatedAt, r.UpdatedAt, r.EndedAt = record.RestorePreparing, now, now, time.Time{}
	r.ExpiresAt, r.LatestAt = stored(r.ExpiresAt), stored(r.LatestAt)
	ports, err := t.choosePorts(p.Ports, len(r.Disks))
	if err != nil {
		return r, fmt.Errorf("restore of backup %s: %w", r.BackupID, err)
	}
	leases := make([]record.Lease, len(ports))
	for i := range r.Disks {
		leases[i], err = t.lease(record.Lease{Port: ports[i], RestoreID: r.ID, DiskID: r.Disks[i].DiskID, LeasedAt: now})
		if err != nil {
			return r, err
		}
		r.Disks[i].Port = ports[i]
	}
	return t.completeRestore(r, leases, func(r *record.Restore) { p.Complete(r, leases) })
}

func (t *tx) freshRestoreID(p RestorePreparation) (string, error) {
	for ahead := range int64(maxSecondsAhead) {
		var id string
		t.call(func() { id = p.ID(p.Now.Unix() + ahead) })
		if err := record.ValidName("restore_id", id); err != nil {
			return "", err
		}
		if t.Bucket(bucketRestores).Get([]byte(id)) == nil {
			return id, nil
		}
	}
	return "", fmt.Errorf("backup %s: no unused restore_id within %d seconds of now: set the clock", p.Restore.BackupID, maxSecondsAhead)
}

// completeRestore has the caller fill in the names, and looks that each unit's holds the nonce of its lease.
func (t *tx) completeRestore(r record.Restore, leases []record.Lease, fill func(*record.Restore)) (record.Restore, error) {
	after, err := copyRestore(r)
	if err != nil {
		return r, err
	}
	t.call(func() { fill(&after) })
	for _, l := range leases {
		if d := after.Disk(l.DiskID); d == nil || !strings.Contains(d.Unit, l.Nonce) {
			return r, fmt.Errorf("restore %s: disk %d: its unit does not hold the nonce %s of the lease", r.ID, l.DiskID, l.Nonce)
		}
	}
	if want, got := lasting(r, false), lasting(after, false); after.State != r.State || !reflect.DeepEqual(want, got) {
		return r, fmt.Errorf("restore %s: only what depends on its leases may be filled in: %+v, not %+v", r.ID, got, want)
	}
	return after, nil
}

// copyRestore is a deep copy, and what the record will be when it is read back.
func copyRestore(r record.Restore) (record.Restore, error) {
	var c record.Restore
	encoded, err := json.Marshal(r)
	if err != nil {
		return c, fmt.Errorf("restore %s: %w", r.ID, err)
	}
	return c, json.Unmarshal(encoded, &c)
}

// lasting is what never changes in a record: what leases and pins stand on. Units are given names once.
func lasting(r record.Restore, units bool) record.Restore {
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
