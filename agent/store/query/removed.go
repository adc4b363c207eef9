package query

import (
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Removed says whether RemoveBackup has removed a backup of that id.
func (r *Reader) Removed(id string) (removed bool, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		removed = id != "" && t.Bucket(schema.BucketRemoved).Get([]byte(id)) != nil
		return nil
	})
	return removed, err
}

// RemovedFrom is the directory of a removed backup; "" if it had none, or if no such backup was removed.
func (r *Reader) RemovedFrom(id string) (directory string, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		if value := t.Bucket(schema.BucketRemoved).Get([]byte(id)); id != "" && len(value) > schema.TimeBytes {
			directory = string(value[schema.TimeBytes:])
		}
		return nil
	})
	return directory, err
}

// Rebuilt says whether MarkRebuilt was called, and not ClearRebuilt since.
func (r *Reader) Rebuilt() (rebuilt bool, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		rebuilt = schema.Has(t.Bucket(schema.BucketMeta), schema.KeyRebuilt)
		return nil
	})
	return rebuilt, err
}
