package rules

import (
	"errors"
	"fmt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// CheckNames refuses names that are missing or too long for a key.
func CheckNames(b record.Backup) error {
	if len(b.Runs) == 0 {
		return nil
	}
	if err := checkPath("directory", b.Directory); err != nil {
		return err
	}
	for _, r := range b.Runs {
		err := errors.Join(
			record.ValidName("unit name", r.Unit),
			record.ValidName("export name", r.ExportName),
			checkPath("image", r.Image),
		)
		if err != nil {
			return fmt.Errorf("disk %d: %w", r.DiskID, err)
		}
	}
	return nil
}

func checkPath(what, path string) error {
	if path == "" || len(path) > record.MaxPathBytes {
		return fmt.Errorf("%s: path of %d bytes, want 1 to %d", what, len(path), record.MaxPathBytes)
	}
	return nil
}

// CheckImport refuses to import a record that is not of an ended backup, or has values that cannot be stored.
func CheckImport(b record.Backup) error {
	if err := record.ValidName("backup_id", b.ID); err != nil {
		return err
	}
	if err := record.ValidName("vm name", b.VM.Name); err != nil {
		return err
	}
	if !b.State.Terminal() || b.State == record.Deleting {
		return &StateError{BackupID: b.ID, State: b.State, Action: "importing"}
	}
	if b.Sequence > record.MaxSequence {
		return fmt.Errorf("backup %s: sequence %d: the limit is %d", b.ID, b.Sequence, int64(record.MaxSequence))
	}
	return schema.CheckTime("backup "+b.ID+": created_at", b.CreatedAt)
}
