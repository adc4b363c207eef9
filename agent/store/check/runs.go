package check

import (
	"strings"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// checkRuns checks that each run and each VM of a run is under its key, and that no VM is without its run.
func (c *checker) checkRuns() error {
	err := c.each(c.Bucket(schema.BucketRuns), func(k, v []byte) {
		var run record.Run
		if err := schema.Decode(c.Tx, schema.BucketRuns, k, v, &run); err != nil {
			c.report("%v", err)
		} else if run.ID != string(k) {
			c.report("run %s: its record is of run %s", k, run.ID)
		}
	})
	if err != nil {
		return err
	}
	return c.each(c.Bucket(schema.BucketRunVMs), func(k, v []byte) {
		var vm record.RunVM
		id, name, _ := strings.Cut(string(k), "/")
		if err := schema.Decode(c.Tx, schema.BucketRunVMs, k, v, &vm); err != nil {
			c.report("%v", err)
		} else if vm.RunID != id || vm.VM != name || c.Bucket(schema.BucketRuns).Get([]byte(id)) == nil {
			c.report("run_vms/%q: of run %q, vm %q; want that of a run on record", k, vm.RunID, vm.VM)
		}
	})
}
