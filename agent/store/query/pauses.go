package query

import (
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Pauses returns the paused repositories, ordered by id.
func (r *Reader) Pauses() (list []record.Pause, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		return t.Bucket(schema.BucketPaused).ForEach(func(key, value []byte) error {
			var p record.Pause
			err := schema.Decode(t, schema.BucketPaused, key, value, &p)
			list = append(list, p)
			return err
		})
	})
	return list, err
}

// PauseOf returns the pause of a repository, and whether it is paused.
func (r *Reader) PauseOf(repository string) (p record.Pause, paused bool, err error) {
	err = r.file.View(func(t *dbfile.Tx) (err error) {
		paused, err = schema.Get(t, schema.BucketPaused, []byte(repository), &p)
		return err
	})
	return p, paused && err == nil, err
}
