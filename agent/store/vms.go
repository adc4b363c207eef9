package store

import (
	"bytes"

	"github.com/sendense/backup-agent/agent/record"
)

// PutVM puts a VM on record, new or in place of the one of the same name, and says whether it is new. A record that is
// replaced keeps the time at which it was added. The VM's active backup is not touched: it has its own copy of the VM, as it
// was when the backup was prepared.
func (s *Store) PutVM(vm record.VM) (created bool, err error) {
	if err := vm.Validate(); err != nil {
		return false, err
	}
	key := []byte(vm.Name)
	err = s.update(func(t *tx) error {
		var old record.VM
		found, err := t.get(bucketVMs, key, &old)
		if err != nil {
			return err
		}
		created = !found
		if !old.AddedAt.IsZero() {
			vm.AddedAt = old.AddedAt
		}
		return t.put(bucketVMs, key, vm)
	})
	return created && err == nil, err
}

// VM returns the VM of that name, or a *NotFoundError.
func (s *Store) VM(name string) (record.VM, error) {
	var vm record.VM
	err := s.view(func(t *tx) error {
		ok, err := t.get(bucketVMs, []byte(name), &vm)
		if err == nil && !ok {
			err = &NotFoundError{Kind: KindVM, Name: name}
		}
		return err
	})
	return vm, err
}

// VMs returns VMs in the order of their names' bytes: those behind the name after, at most limit (0 is DefaultPage,
// and MaxPage is the most). next is the after of the following page, or "" when there is none.
func (s *Store) VMs(after string, limit int) (vms []record.VM, next string, err error) {
	limit = pageSize(limit)
	err = s.view(func(t *tx) error {
		c := t.Bucket(bucketVMs).Cursor()
		k, v := c.Seek([]byte(after))
		if k != nil && bytes.Equal(k, []byte(after)) {
			k, v = c.Next()
		}
		for ; k != nil && len(vms) < limit; k, v = c.Next() {
			var vm record.VM
			if err := t.decode(bucketVMs, k, v, &vm); err != nil {
				return err
			}
			vms = append(vms, vm)
		}
		if k != nil {
			next = vms[len(vms)-1].Name
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return vms, next, nil
}

// RemoveVM forgets a VM; its backups stay. It returns a *NotFoundError when there is no such VM, an *ActiveError while
// the VM has an active backup.
func (s *Store) RemoveVM(name string) error {
	key := []byte(name)
	return s.update(func(t *tx) error {
		if len(key) == 0 || t.Bucket(bucketVMs).Get(key) == nil {
			return &NotFoundError{Kind: KindVM, Name: name}
		}
		if err := t.checkIdle(name); err != nil {
			return err
		}
		return t.Bucket(bucketVMs).Delete(key)
	})
}
