package query

import (
	"errors"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/schema"
)

func FuzzCursor(f *testing.F) {
	f.Add("")
	f.Add("8YWmrdSWgABiYWNr\r\r\r\r") // base64 passes over line ends
	f.Add(encodeCursor(schema.ListKey(schema.ListAll, record.Backup{ID: "backup-a-1", CreatedAt: time.Unix(1_800_000_000, 0)})))
	f.Fuzz(func(t *testing.T, cursor string) {
		key, err := decodeCursor(cursor)
		if (err != nil) != errors.Is(err, ErrBadCursor) || (err == nil && encodeCursor(key) != cursor) {
			t.Errorf("%q: key %q, error %v", cursor, key, err)
		}
	})
}
