package store

import (
	"fmt"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// A Preparation asks for a new backup. Its functions run inside the transaction: they must only compute, and not use the Store.
type Preparation struct {
	// Backup holds VM, Type, Parent, Repository, Policy, Tags, RateLimit and RequestID. Anything else is dropped.
	Backup record.Backup
	Now    time.Time
	ID     func(unixSeconds int64) string // the id of the backup; different for every second
	Ports  PortChooser

	// Complete fills in what depends on id, ports and nonces: Directory, and for every run ExportName, Image and Unit,
	// which holds the nonce of the disk's lease. Runs and leases are in the order of VM.Disks.
	Complete func(b *record.Backup, leases []record.Lease)
}

// Prepare puts a backup on record in state preparing, with a lease for every disk, or changes nothing.
//
// If the request id is on record, it returns the backup of the first request, and existing is true. A *RequestMismatchError
// says that the first request was for another VM, type or repository. Other errors: *ActiveError, *CoolingError, *ParentError,
// *DamagedError, record.ErrNoDisks, *ClaimError, and those of the chooser.
//
// The parent of an incremental is pinned from here on: RemoveBackup refuses it.
func (s *Store) Prepare(p Preparation) (b record.Backup, existing bool, err error) {
	return s.add(p, func(t *dbfile.Tx) (record.Backup, error) {
		b, err := admit(t, p, record.Preparing)
		if err != nil {
			return record.Backup{}, err
		}
		return equip(t, b, p.Now, p.Ports, p.Complete)
	})
}

// add writes the record that compose makes, unless the request is on record.
func (s *Store) add(p Preparation, compose func(*dbfile.Tx) (record.Backup, error)) (b record.Backup, existing bool, err error) {
	if err := p.check(); err != nil {
		return record.Backup{}, false, err
	}
	err = s.file.Update(func(t *dbfile.Tx) error {
		var err error
		if b, existing, err = firstBackup(t, p.Backup); err != nil {
			return err
		}
		if existing {
			return dbfile.ErrUnchanged
		}
		if b, err = compose(t); err != nil {
			return err
		}
		return insertBackup(t, b)
	})
	if err != nil {
		return record.Backup{}, false, err
	}
	return b, existing, nil
}

// check refuses what cannot be written.
func (p Preparation) check() error {
	b := p.Backup
	if err := b.VM.Validate(); err != nil {
		return err
	}
	if len(b.VM.Disks) == 0 {
		return fmt.Errorf("vm %q: %w", b.VM.Name, record.ErrNoDisks)
	}
	if b.Type != record.Full && b.Type != record.Incremental {
		return fmt.Errorf("backup_type %q: want %q or %q", b.Type, record.Full, record.Incremental)
	}
	if err := record.ValidName("repository_id", b.Repository); err != nil {
		return err
	}
	if b.RequestID != "" {
		if err := record.ValidName("request_id", b.RequestID); err != nil {
			return err
		}
	}
	return schema.CheckTime("now", p.Now)
}

// admit makes the record without runs, if the VM is free and the parent is suitable.
func admit(t *dbfile.Tx, p Preparation, state record.State) (record.Backup, error) {
	if err := rules.CheckIdle(t, p.Backup.VM.Name); err != nil {
		return record.Backup{}, err
	}
	if err := rules.CheckAlias(t, p.Backup.VM, ""); err != nil {
		return record.Backup{}, err
	}
	if err := rules.CheckCool(t, p.Backup.VM, p.Now); err != nil {
		return record.Backup{}, err
	}
	if err := rules.CheckParent(t, p.Backup); err != nil {
		return record.Backup{}, err
	}
	if err := rules.CheckSound(t, p.Backup.Parent); err != nil {
		return record.Backup{}, err
	}
	if err := dropCooled(t, p.Now); err != nil {
		return record.Backup{}, err
	}
	id, err := freshID(t, p)
	if err != nil {
		return record.Backup{}, err
	}
	sequence, err := nextSequence(t, p.Backup.Repository, p.Backup.VM.Name)
	if err != nil {
		return record.Backup{}, err
	}
	now := schema.Stored(p.Now)
	return schema.Clone(record.Backup{
		ID: id, Sequence: sequence, VM: p.Backup.VM, Type: p.Backup.Type, Parent: p.Backup.Parent, Repository: p.Backup.Repository,
		RequestID: p.Backup.RequestID, Policy: p.Backup.Policy, Tags: p.Backup.Tags, RateLimit: p.Backup.RateLimit,
		FullWhy: p.Backup.FullWhy, RefreshError: p.Backup.RefreshError,
		Queued: state == record.Queued, State: state, CreatedAt: now, UpdatedAt: now,
	})
}

// equip gives the record a run and a lease for every disk, and has the caller complete it.
func equip(t *dbfile.Tx,
	b record.Backup, now time.Time, choose PortChooser, complete func(*record.Backup, []record.Lease),
) (record.Backup, error) {
	leases, err := leaseDisks(t, &b, choose, schema.Stored(now))
	if err != nil {
		return record.Backup{}, err
	}
	return completeBackup(t, b, leases, func(b *record.Backup) { complete(b, leases) })
}

// maxSecondsAhead is how far the id of a backup may be ahead of the clock. It would take as many backups of one VM, each of
// them shorter than a second.
const maxSecondsAhead = 100_000

// freshID is the id of the first second from now on that no record has or had.
func freshID(t *dbfile.Tx, p Preparation) (string, error) {
	for ahead := range int64(maxSecondsAhead) {
		var id string
		t.Call(func() { id = p.ID(p.Now.Unix() + ahead) })
		if err := record.ValidName("backup_id", id); err != nil {
			return "", err
		}
		key := []byte(id)
		if t.Bucket(schema.BucketBackups).Get(key) == nil && t.Bucket(schema.BucketRemoved).Get(key) == nil {
			return id, nil
		}
	}
	return "", fmt.Errorf("vm %q: no unused backup_id within %d seconds of now: set the clock", p.Backup.VM.Name, maxSecondsAhead)
}

// leaseDisks gives the backup a run and a lease for every disk.
func leaseDisks(t *dbfile.Tx, b *record.Backup, choose PortChooser, now time.Time) ([]record.Lease, error) {
	ports, err := choosePorts(t, choose, len(b.VM.Disks))
	if err != nil {
		return nil, fmt.Errorf("vm %q: %w", b.VM.Name, err)
	}
	leases := make([]record.Lease, len(ports))
	for i, d := range b.VM.Disks {
		if leases[i], err = writeLease(t, record.Lease{Port: ports[i], BackupID: b.ID, DiskID: d.ID, LeasedAt: now}); err != nil {
			return nil, err
		}
		b.Runs = append(b.Runs, record.DiskRun{DiskID: d.ID, Key: d.Key(), CapacityBytes: d.CapacityBytes, Port: ports[i]})
	}
	return leases, nil
}

// completeBackup has the caller fill in the names, and refuses any other change.
func completeBackup(t *dbfile.Tx, b record.Backup, leases []record.Lease, fill func(*record.Backup)) (record.Backup, error) {
	after, err := schema.Clone(b)
	if err != nil {
		return b, err
	}
	t.Call(func() { fill(&after) })
	if err := rules.CheckImmutable(b, after); err != nil {
		return b, err
	}
	if after.State != b.State {
		return b, &rules.ImmutableError{BackupID: b.ID, Field: "state"}
	}
	return after, rules.CheckUnits(b, after, leases)
}

// insertBackup writes a new record and its index entries.
func insertBackup(t *dbfile.Tx, b record.Backup) error {
	if err := writeClaims(t, b); err != nil {
		return err
	}
	if b.RequestID != "" {
		if err := t.Bucket(schema.BucketRequests).Put([]byte(b.RequestID), []byte(b.ID)); err != nil {
			return err
		}
	}
	if err := t.Bucket(schema.BucketActive).Put([]byte(b.VM.Name), []byte(b.ID)); err != nil {
		return err
	}
	if err := schema.Index(t, nil, &b); err != nil {
		return err
	}
	return schema.Put(t, schema.BucketBackups, []byte(b.ID), b)
}
