package store

import (
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// PutVM puts a VM on record, new or in place of the VM of that name, and says whether it is new. A replaced record keeps the
// time at which it was added. An active backup of the VM does not change: it has its own copy of the VM from when it was
// prepared.
func (s *Store) PutVM(vm record.VM) (created bool, err error) {
	if err := vm.Validate(); err != nil {
		return false, err
	}
	key := []byte(vm.Name)
	err = s.file.Update(func(t *dbfile.Tx) error {
		var old record.VM
		found, err := schema.Get(t, schema.BucketVMs, key, &old)
		if err != nil {
			return err
		}
		created = !found
		if !old.AddedAt.IsZero() {
			vm.AddedAt = old.AddedAt
		}
		return schema.Put(t, schema.BucketVMs, key, vm)
	})
	return created && err == nil, err
}

// AddVM puts a VM on record unless there is one of that name, and says whether it did.
func (s *Store) AddVM(vm record.VM) (added bool, err error) {
	if err := vm.Validate(); err != nil {
		return false, err
	}
	key := []byte(vm.Name)
	err = s.file.Update(func(t *dbfile.Tx) error {
		if added = t.Bucket(schema.BucketVMs).Get(key) == nil; !added {
			return dbfile.ErrUnchanged
		}
		return schema.Put(t, schema.BucketVMs, key, vm)
	})
	return added && err == nil, err
}

// RemoveVM removes the record of a VM; its backups stay. It returns a *NotFoundError when there is no such VM, and an
// *ActiveError while the VM has an active backup.
func (s *Store) RemoveVM(name string) error {
	key := []byte(name)
	return s.file.Update(func(t *dbfile.Tx) error {
		if len(key) == 0 || t.Bucket(schema.BucketVMs).Get(key) == nil {
			return &schema.NotFoundError{Kind: schema.KindVM, Name: name}
		}
		if err := rules.CheckIdle(t, name); err != nil {
			return err
		}
		return t.Bucket(schema.BucketVMs).Delete(key)
	})
}
