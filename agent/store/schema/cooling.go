package schema

import (
	"github.com/sendense/backup-agent/agent/store/dbfile"
)

func EachCooling(t *dbfile.Tx, bucket []byte, f func(key []byte, c Stamp) error) error {
	return t.Bucket(bucket).ForEach(func(k, v []byte) error {
		c, err := DecodeStamp(t, bucket, k, v)
		if err != nil {
			return err
		}
		return f(k, c)
	})
}

// UnknownBackup stands for the id of a backup that went with a lost database.
const UnknownBackup = "?"
