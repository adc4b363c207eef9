package store

import (
	"encoding/binary"

	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"

	"github.com/sendense/backup-agent/agent/record"
)

// nextSequence is that of a record which is made now: higher than any that was given, also should the file have been mended by
// hand.
func nextSequence(t *dbfile.Tx, repository, vm string) (uint64, error) {
	records := t.Bucket(schema.BucketBackups)
	next, err := records.NextSequence()
	if err != nil {
		return 0, err
	}
	list := t.Bucket(schema.BucketLists).Bucket([]byte(schema.ListOrder(repository, vm)))
	if list == nil {
		return next, nil
	}
	last, _ := list.Cursor().Last()
	if len(last) < schema.TimeBytes || binary.BigEndian.Uint64(last) < next {
		return next, nil
	}
	next = binary.BigEndian.Uint64(last) + 1
	return next, records.SetSequence(next)
}

// importSequence is that of a record which is imported. A restore point comes after the one that it stands on.
func importSequence(t *dbfile.Tx, b record.Backup) (uint64, error) {
	made := []record.Made{{ID: b.ID, Parent: b.Parent, Sequence: b.Sequence, CreatedAt: b.CreatedAt}}
	var parent record.Backup
	known, err := schema.Get(t, schema.BucketBackups, []byte(b.Parent), &parent)
	if err != nil {
		return 0, err
	}
	if known {
		made = append(made, record.Made{ID: parent.ID, Sequence: parent.Sequence, CreatedAt: parent.CreatedAt})
	}
	sequence := record.Sequences(made, b.CreatedAt)[b.ID] // no date of a single record is in the future
	records := t.Bucket(schema.BucketBackups)
	if sequence <= records.Sequence() {
		return sequence, nil
	}
	return sequence, records.SetSequence(sequence)
}
