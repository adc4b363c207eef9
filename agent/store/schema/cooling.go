package schema

import (
	"github.com/sendense/backup-agent/agent/store/dbfile"
)

// EachCooling walks the entries of a cooling bucket.
func EachCooling(t *dbfile.Tx, bucket []byte, f func(key []byte, c Stamp) error) error {
	return t.Bucket(bucket).ForEach(func(k, v []byte) error {
		c, err := DecodeStamp(t, bucket, k, v)
		if err != nil {
			return err
		}
		return f(k, c)
	})
}

// UnknownBackup is the id of a backup whose record was lost with the database.
const UnknownBackup = "?"
