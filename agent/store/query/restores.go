package query

import (
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Restore returns the restore of that id, or a *NotFoundError.
func (r *Reader) Restore(id string) (record.Restore, error) {
	var found record.Restore
	err := r.file.View(func(t *dbfile.Tx) (err error) {
		found, err = schema.Restore(t, id)
		return err
	})
	if err != nil {
		return record.Restore{}, err
	}
	return found, nil
}

// Restores returns every restore on record, the newest first: active ones and the last that have ended.
func (r *Reader) Restores() ([]record.Restore, error) {
	var list []record.Restore
	err := r.file.View(func(t *dbfile.Tx) (err error) {
		list, err = schema.Restores(t)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// ActiveRestores returns every active restore, ordered by id.
func (r *Reader) ActiveRestores() ([]record.Restore, error) {
	var active []record.Restore
	err := r.file.View(func(t *dbfile.Tx) (err error) {
		active, err = schema.ActiveRestores(t)
		return err
	})
	if err != nil {
		return nil, err
	}
	return active, nil
}
