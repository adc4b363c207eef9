package publish

import (
	"testing"

	"github.com/sendense/backup-agent/agent/record"
)

// TestUsualChanges: the last three incrementals of a disk tell how much of it changes. One that was copied whole tells it only if it was
// squeezed.
func TestUsualChanges(t *testing.T) {
	point := func(kind record.Type, run record.DiskRun) record.Backup {
		run.Key = 2000
		return record.Backup{Type: kind, Runs: []record.DiskRun{{Key: 2001, Copied: record.CopiedChanges, ReceivedBytes: 1 << 40}, run}}
	}
	changes := func(received uint64) record.Backup {
		return point(record.Incremental, record.DiskRun{Copied: record.CopiedChanges, ReceivedBytes: received})
	}
	whole := point(record.Incremental, record.DiskRun{Copied: record.CopiedWhole, ReceivedBytes: 1 << 30})
	squeezed := point(record.Incremental, record.DiskRun{Copied: record.CopiedWhole, ReceivedBytes: 1 << 30, KeptBytes: 6 << 20})
	full := point(record.Full, record.DiskRun{Copied: record.CopiedWhole, ReceivedBytes: 1 << 30})
	for name, c := range map[string]struct {
		points []record.Backup
		key    int
		want   int64
	}{
		"only a full backup":    {[]record.Backup{full}, 2000, 0},
		"another disk":          {[]record.Backup{changes(8 << 20), full}, 2002, 0},
		"some":                  {[]record.Backup{changes(2 << 20), whole, squeezed, full}, 2000, 4 << 20},
		"older ones than three": {[]record.Backup{changes(1 << 20), changes(1 << 20), changes(1 << 20), changes(1 << 30), full}, 2000, 1 << 20},
	} {
		if got := usualChanges(c.points, c.key); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
