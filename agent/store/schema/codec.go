package schema

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
)

// TimeBytes is the length of an encoded time.
const TimeBytes = 8

// EncodeTime encodes a time so that the bytes sort like the times.
func EncodeTime(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixNano()))
}

// EncodeSequence encodes a sequence so that the bytes sort like the numbers.
func EncodeSequence(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// DecodeTime decodes the first 8 bytes of a value or key.
func DecodeTime(b []byte) time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(b))).UTC()
}

// CheckTime refuses a time outside of the encoding's range, 1970 to 2262.
func CheckTime(what string, t time.Time) error {
	if year := t.UTC().Year(); year < 1970 || year > 2261 {
		return fmt.Errorf("%s %s: want a time between 1970 and 2262: set the clock", what, t.Format(time.RFC3339))
	}
	return nil
}

// Stored is a time as it is read back.
func Stored(t time.Time) time.Time { return t.UTC().Round(0) }

// EncodePort encodes a port as a key.
func EncodePort(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }

// DecodePort decodes a key of 2 bytes.
func DecodePort(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// Stamp is the value of a cooling entry.
type Stamp struct {
	Until    time.Time
	BackupID string
}

// Encode encodes the value of a cooling entry.
func (s Stamp) Encode() []byte { return append(EncodeTime(s.Until), s.BackupID...) }

// DecodeStamp decodes the value of a cooling entry.
func DecodeStamp(t *dbfile.Tx, bucket, key, value []byte) (Stamp, error) {
	if len(value) <= TimeBytes {
		return Stamp{}, t.Damaged("%s/%q: %d bytes", bucket, key, len(value))
	}
	return Stamp{Until: DecodeTime(value), BackupID: string(value[TimeBytes:])}, nil
}

// Get decodes the value of a key into v, and says whether the key exists.
func Get(t *dbfile.Tx, bucket, key []byte, v any) (bool, error) {
	if len(key) == 0 || len(key) > bolt.MaxKeySize {
		return false, nil
	}
	value := t.Bucket(bucket).Get(key)
	if value == nil {
		return false, nil
	}
	return true, Decode(t, bucket, key, value, v)
}

// Decode decodes a JSON value. One that is no JSON is damage.
func Decode(t *dbfile.Tx, bucket, key, value []byte, v any) error {
	if err := json.Unmarshal(value, v); err != nil {
		return t.Damaged("%s/%q: %v", bucket, key, err)
	}
	return nil
}

// Put encodes v as the JSON value of a key.
func Put(t *dbfile.Tx, bucket, key []byte, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s/%q: %w", bucket, key, err)
	}
	return t.Bucket(bucket).Put(key, value)
}

// Backup loads a record that must exist.
func Backup(t *dbfile.Tx, id string) (record.Backup, error) {
	var b record.Backup
	ok, err := Get(t, BucketBackups, []byte(id), &b)
	if err == nil && !ok {
		err = &NotFoundError{Kind: KindBackup, Name: id}
	}
	return b, err
}

// Indexed loads a record that an index names. If there is none, the file is damaged.
func Indexed(t *dbfile.Tx, index, key, id []byte) (record.Backup, error) {
	var b record.Backup
	ok, err := Get(t, BucketBackups, id, &b)
	if err == nil && !ok {
		err = t.Damaged("%s/%q: backup %s has no record", index, key, id)
	}
	return b, err
}

// Clone is a deep copy, as the record is read back.
func Clone(b record.Backup) (record.Backup, error) {
	var c record.Backup
	encoded, err := json.Marshal(b)
	if err != nil {
		return c, fmt.Errorf("backup %s: %w", b.ID, err)
	}
	return c, json.Unmarshal(encoded, &c)
}

// Has says whether a bucket has a key, whose value may be empty.
func Has(b *bolt.Bucket, key []byte) bool {
	k, _ := b.Cursor().Seek(key)
	return bytes.Equal(k, key)
}

// Count counts the keys of a bucket.
func Count(t *dbfile.Tx, bucket []byte) int {
	n := 0
	c := t.Bucket(bucket).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
	}
	return n
}
