package ledger

import (
	"errors"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// NotFound translates an error of the store for a caller: a missing record gets the reason VMNotFound, RestoreNotFound, RunNotFound
// or BackupNotFound. nil stays nil.
func NotFound(err error) error {
	var missing *store.NotFoundError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &missing):
		return fault.From(err)
	case missing.Kind == store.KindVM:
		return fault.New(fault.VMNotFound, "vm %q is not on record", missing.Name).
			WithHint("vm.list shows the VMs on record; add it with vm.put or vm.discover")
	case missing.Kind == store.KindRestore:
		return fault.New(fault.RestoreNotFound, "restore %q is not on record", missing.Name).
			WithHint("restore.list shows the restores on record")
	case missing.Kind == store.KindRun:
		return fault.New(fault.RunNotFound, "run %q is not on record", missing.Name).
			WithHint("run.list shows the runs on record")
	}
	return fault.New(fault.BackupNotFound, "backup %q is not on record", missing.Name).
		WithHint("backup.list shows the backups on record")
}

// NotAllowed reports whether a change failed because it is not allowed, so that repeating it is useless.
func NotAllowed(err error) bool {
	var (
		ours       *fault.Error
		transition *record.IllegalTransitionError
		immutable  *store.ImmutableError
		missing    *store.NotFoundError
	)
	return errors.As(err, &ours) || errors.As(err, &transition) || errors.As(err, &immutable) || errors.As(err, &missing)
}
