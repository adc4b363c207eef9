package store

import (
	"encoding/binary"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// nextSequence is the sequence of a new record: higher than any that was given, even in a file that was edited by hand.
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

// importSequence is the sequence of an imported record. A restore point comes after its parent.
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
	sequence := record.Sequences(made, b.CreatedAt)[b.ID] // so that the date does not count as in the future
	records := t.Bucket(schema.BucketBackups)
	if sequence <= records.Sequence() {
		return sequence, nil
	}
	return sequence, records.SetSequence(sequence)
}
