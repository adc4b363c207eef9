package query

import (
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Importing says whether BeginImport was called for a repository, and not EndImport since.
func (r *Reader) Importing(repository string) (importing bool, err error) {
	err = r.file.View(func(t *dbfile.Tx) error {
		importing = repository != "" && schema.Has(t.Bucket(schema.BucketImporting), []byte(repository))
		return nil
	})
	return importing, err
}
