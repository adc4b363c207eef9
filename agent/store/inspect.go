package store

import (
	"context"
	"time"

	"github.com/sendense/backup-agent/agent/store/check"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Inspection is what a look at a database tells.
type Inspection struct {
	SizeBytes int64
	Version   int  // of the schema
	Supported int  // the version that this agent writes; an older one is brought up to date when the agent starts
	Whole     bool // every record was read and compared, not only what a start needs

	HeaderDamaged bool // one of the two header pages is: Open recovers by the other
}

// Inspect looks at the database at path and changes nothing of it, not even an older schema. One of no more than wholeBytes
// is read from beginning to end. The errors are those of Open; while it looks, an agent that starts waits for the file.
func Inspect(ctx context.Context, path string, timeout time.Duration, wholeBytes int64) (found Inspection, err error) {
	f, err := dbfile.OpenReadOnly(path, timeout)
	if err != nil {
		return found, err
	}
	defer f.Close()
	s := newStore(f)
	found.HeaderDamaged = f.HeaderDamaged()
	found.SizeBytes, found.Supported = s.SizeBytes(), schema.Latest(schema.Migrations)
	err = f.View(func(t *dbfile.Tx) (err error) {
		found.Version, err = schema.Version(t, found.Supported)
		return err
	})
	if err != nil || found.Version < found.Supported {
		return found, err // the checks are for the records of today
	}
	if err := s.usable(); err != nil || found.SizeBytes > wholeBytes {
		return found, err
	}
	found.Whole = true
	return found, check.Run(ctx, f, f.View)
}
