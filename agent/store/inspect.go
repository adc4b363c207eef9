package store

import (
	"context"
	"time"
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
	deadline := time.Now().Add(timeout)
	if err := checkFile(path); err != nil {
		return found, err
	}
	harm, err := checkWhole(path, deadline)
	if err != nil {
		return found, err
	}
	db, err := openFile(path, deadline, true)
	if err != nil {
		return found, err
	}
	defer db.Close()
	s := &Store{db: db, path: path, harm: harm}
	found.HeaderDamaged = harm.any()
	found.SizeBytes, found.Supported = s.SizeBytes(), latest(migrations)
	err = s.view(func(t *tx) (err error) {
		found.Version, err = t.version(found.Supported)
		return err
	})
	if err != nil || found.Version < found.Supported {
		return found, err // the checks are for the records of today
	}
	if err := s.usable(); err != nil || found.SizeBytes > wholeBytes {
		return found, err
	}
	found.Whole = true
	return found, s.check(ctx, s.view)
}

// version is that of the schema, when it is one that an agent knows which supports versions up to supported.
func (t *tx) version(supported int) (int, error) {
	version, err := schemaVersion(t.Tx)
	switch {
	case err != nil:
		return 0, t.damaged("%v", err)
	case version == 0:
		return 0, t.damaged("there is nothing in it") // create never leaves such a file
	case version > supported:
		return 0, &NewerSchemaError{Path: t.path, Version: version, Supported: supported}
	}
	return version, nil
}
