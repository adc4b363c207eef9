package store

import (
	"context"
	"time"

	"github.com/sendense/backup-agent/agent/store/check"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Inspection is what Inspect finds out about a database.
type Inspection struct {
	SizeBytes int64
	Version   int  // of the schema
	Supported int  // the version that this agent writes; the agent migrates an older one when it starts
	Whole     bool // every record was checked, not only what a start needs

	HeaderDamaged bool // one of the two header pages: Open recovers by the other one
}

// Inspect reads the database at path and changes nothing, not even an older schema. It reads one of at most wholeBytes from
// beginning to end. The errors are those of Open. An agent that starts meanwhile waits for the file.
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
		return found, err // the checks are for records of the present schema
	}
	if err := s.usable(); err != nil || found.SizeBytes > wholeBytes {
		return found, err
	}
	found.Whole = true
	return found, check.Run(ctx, f, f.View)
}
