package store

import (
	"github.com/sendense/backup-agent/agent/record"
)

// Active returns every active backup, in the order of the VMs' names.
func (s *Store) Active() ([]record.Backup, error) {
	var active []record.Backup
	err := s.view(func(t *tx) error {
		return t.Bucket(bucketActive).ForEach(func(k, id []byte) error {
			b, err := t.indexed(bucketActive, k, id)
			active = append(active, b)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return active, nil
}

// checkIdle returns an *ActiveError when a backup of that name is active.
func (t *tx) checkIdle(vm string) error {
	id := t.Bucket(bucketActive).Get([]byte(vm))
	if id == nil {
		return nil
	}
	b, err := t.indexed(bucketActive, []byte(vm), id)
	if err != nil {
		return err
	}
	return &ActiveError{VM: vm, BackupID: b.ID, State: b.State}
}

// checkAlias returns an *ActiveError when the same VM has an active backup under another name: the name is the hub's, and
// the inventory path says which VM it is. Its second snapshot would destroy the first one. except is a backup that does not count.
func (t *tx) checkAlias(vm record.VM, except string) error {
	return t.Bucket(bucketActive).ForEach(func(k, id []byte) error {
		b, err := t.indexed(bucketActive, k, id)
		if err != nil {
			return err
		}
		if b.ID != except && b.VM.Same(vm) {
			return &ActiveError{VM: b.VM.Name, BackupID: b.ID, State: b.State}
		}
		return nil
	})
}
