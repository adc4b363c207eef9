package store

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
)

// timeBytes is the length of an encoded time.
const timeBytes = 8

func encodeTime(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixNano()))
}

func encodeSequence(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func decodeTime(b []byte) time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(b))).UTC()
}

// checkTime refuses times that the encoding does not hold, 1970 to 2262.
func checkTime(what string, t time.Time) error {
	if year := t.UTC().Year(); year < 1970 || year > 2261 {
		return fmt.Errorf("%s %s: want a time between 1970 and 2262: set the clock", what, t.Format(time.RFC3339))
	}
	return nil
}

// stored is a time in the form in which it is read back.
func stored(t time.Time) time.Time { return t.UTC().Round(0) }

func encodePort(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }

func decodePort(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// stamp is the value of a cooling entry.
type stamp struct {
	until    time.Time
	backupID string
}

func (s stamp) encode() []byte { return append(encodeTime(s.until), s.backupID...) }

func (t *tx) decodeStamp(bucket, key, value []byte) (stamp, error) {
	if len(value) <= timeBytes {
		return stamp{}, t.damaged("%s/%q: %d bytes", bucket, key, len(value))
	}
	return stamp{until: decodeTime(value), backupID: string(value[timeBytes:])}, nil
}

// get decodes the value of a key into v, and says whether there is one.
func (t *tx) get(bucket, key []byte, v any) (bool, error) {
	if len(key) == 0 || len(key) > bolt.MaxKeySize {
		return false, nil
	}
	value := t.Bucket(bucket).Get(key)
	if value == nil {
		return false, nil
	}
	return true, t.decode(bucket, key, value, v)
}

func (t *tx) decode(bucket, key, value []byte, v any) error {
	if err := json.Unmarshal(value, v); err != nil {
		return t.damaged("%s/%q: %v", bucket, key, err)
	}
	return nil
}

func (t *tx) put(bucket, key []byte, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s/%q: %w", bucket, key, err)
	}
	return t.Bucket(bucket).Put(key, value)
}

// backup loads a record that must exist.
func (t *tx) backup(id string) (record.Backup, error) {
	var b record.Backup
	ok, err := t.get(bucketBackups, []byte(id), &b)
	if err == nil && !ok {
		err = &NotFoundError{Kind: KindBackup, Name: id}
	}
	return b, err
}

// indexed loads a record that an index names: without it the file is damaged.
func (t *tx) indexed(index, key, id []byte) (record.Backup, error) {
	var b record.Backup
	ok, err := t.get(bucketBackups, id, &b)
	if err == nil && !ok {
		err = t.damaged("%s/%q: backup %s has no record", index, key, id)
	}
	return b, err
}

// clone is a deep copy, and what the record will be when it is read back.
func clone(b record.Backup) (record.Backup, error) {
	var c record.Backup
	encoded, err := json.Marshal(b)
	if err != nil {
		return c, fmt.Errorf("backup %s: %w", b.ID, err)
	}
	return c, json.Unmarshal(encoded, &c)
}
