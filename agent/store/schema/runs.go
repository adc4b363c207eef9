package schema

import (
	"bytes"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
)

// RunVMKey is the key of a VM of a run.
func RunVMKey(runID, vm string) []byte { return []byte(runID + "/" + vm) }

// Run loads a record that must exist.
func Run(t *dbfile.Tx, id string) (record.Run, error) {
	var r record.Run
	ok, err := Get(t, BucketRuns, []byte(id), &r)
	if err == nil && !ok {
		err = &NotFoundError{Kind: KindRun, Name: id}
	}
	return r, err
}

// RunVMs loads the VMs of a run, ordered by name.
func RunVMs(t *dbfile.Tx, runID string) (list []record.RunVM, err error) {
	prefix := RunVMKey(runID, "")
	c := t.Bucket(BucketRunVMs).Cursor()
	for k, value := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, value = c.Next() {
		var v record.RunVM
		if err := Decode(t, BucketRunVMs, k, value, &v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// DeleteRun removes a run with its VMs.
func DeleteRun(t *dbfile.Tx, id string) error {
	vms, err := RunVMs(t, id)
	if err != nil {
		return err
	}
	for _, v := range vms {
		if err := t.Bucket(BucketRunVMs).Delete(RunVMKey(id, v.VM)); err != nil {
			return err
		}
	}
	return t.Bucket(BucketRuns).Delete([]byte(id))
}
