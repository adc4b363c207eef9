package reconcile

import (
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// TestPlanMerges: an interrupted merge is settled, and a directory of a merge beside a restore point on record is removed. A directory
// without such a record stays.
func TestPlanMerges(t *testing.T) {
	point := record.Backup{ID: "b", State: record.Completed, Repository: "main", Directory: "/r/vm/b"}
	beside := directory{repository: "main", vm: "vm", backupID: "b", path: "/r/vm/.merge-b"}
	marked := point
	marked.Merge = &record.Merge{StartedAt: time.Unix(1, 0)}
	elsewhere, failed := point, point
	elsewhere.Repository, failed.State = "other", record.Failed
	for name, c := range map[string]struct {
		world observed
		steps int
	}{
		"cut short before a directory":   {observed{cutMerges: []record.Backup{marked}}, 1},
		"cut short with a directory":     {observed{cutMerges: []record.Backup{marked}, mergeDirs: []directory{beside}, records: map[string]record.Backup{"b": marked}}, 1},
		"left by one whose mark is lost": {observed{mergeDirs: []directory{beside}, records: map[string]record.Backup{"b": point}}, 1},
		"of nobody":                      {observed{mergeDirs: []directory{beside}}, 0},
		"of another repository":          {observed{mergeDirs: []directory{beside}, records: map[string]record.Backup{"b": elsewhere}}, 0},
		"of a backup that failed":        {observed{mergeDirs: []directory{beside}, records: map[string]record.Backup{"b": failed}}, 0},
	} {
		steps := plan(c.world)
		if len(steps) != c.steps {
			t.Errorf("%s: %+v", name, steps)
		}
		for _, s := range steps {
			if s.action != settleMerge || s.backupID != "b" || s.reason == "" {
				t.Errorf("%s: %+v", name, s)
			}
		}
	}
}
