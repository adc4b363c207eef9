package query

import (
	"bytes"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// VM returns the VM of that name, or a *NotFoundError.
func (r *Reader) VM(name string) (record.VM, error) {
	var vm record.VM
	err := r.file.View(func(t *dbfile.Tx) error {
		ok, err := schema.Get(t, schema.BucketVMs, []byte(name), &vm)
		if err == nil && !ok {
			err = &schema.NotFoundError{Kind: schema.KindVM, Name: name}
		}
		return err
	})
	return vm, err
}

// VMs returns VMs ordered by the bytes of their names: those with names after the given one, at most limit. A limit of 0 is
// DefaultPage; the highest is MaxPage. next is the name to pass for the following page, or "" when there is none.
func (r *Reader) VMs(after string, limit int) (vms []record.VM, next string, err error) {
	limit = pageSize(limit)
	err = r.file.View(func(t *dbfile.Tx) error {
		c := t.Bucket(schema.BucketVMs).Cursor()
		k, v := c.Seek([]byte(after))
		if k != nil && bytes.Equal(k, []byte(after)) {
			k, v = c.Next()
		}
		for ; k != nil && len(vms) < limit; k, v = c.Next() {
			var vm record.VM
			if err := schema.Decode(t, schema.BucketVMs, k, v, &vm); err != nil {
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
