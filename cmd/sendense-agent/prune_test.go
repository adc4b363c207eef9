package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/rpc"
)

// TestPruneCommand: from the command line alone, a policy removes what it keeps no longer, and says before what goes and why; a
// chain is merged and consolidated, and every disk that is kept comes out as it was.
func TestPruneCommand(t *testing.T) {
	h := newHub(t, "[[policy]]\nid = \"gold\"\nkeep_last = 2\nexpired_middle = \"merge\"\n")
	sources := h.addVM("pgtest1", diskSize)
	h.steps(
		step{words("backup start pgtest1 --policy golf"), 1, "", `policy_id "golf": no such policy is configured`},
		step{words("backup prune"), 2, "", "use --yes"},
		step{words("backup prune nobody --dry-run"), 1, "", `"nobody" is not on record`},
	)
	var ids, were []string
	for i, kind := range []string{"full", "incremental", "incremental", "incremental"} {
		code, stdout, stderr := h.ctl("backup", "start", "pgtest1", "--type", kind, "--policy", "gold", "--wait", "-o", "json")
		var b rpc.Backup
		if err := json.Unmarshal([]byte(stdout), &b); err != nil || code != 0 {
			t.Fatalf("%d %s %s", code, stdout, stderr)
		}
		was := filepath.Join(t.TempDir(), "was")
		run(t, "cp", "--sparse=always", sources[0], was)
		ids, were = append(ids, b.BackupID), append(were, was)
		f, err := os.OpenFile(sources[0], os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteAt([]byte{byte(i + 1)}, int64(i)*4096)
		must(t, err)
		must(t, f.Close())
	}
	h.steps(
		step{words("backup prune --dry-run"), 0, "expired, into " + ids[2], ""},
		step{words("backup prune pgtest1 --dry-run"), 0, "last #1", ""},
		step{words("backup prune pgtest1 --dry-run -o json"), 0, `"removed_count": 2`, ""},
		step{words("backup prune --yes"), 0, "2 restore points removed, 2 kept", ""},
		step{words("backup show " + ids[0]), 1, "", "is not on record"},
		step{words("backup show " + ids[2]), 0, "a synthetic full backup", ""},
		step{words("backup consolidate " + ids[3]), 0, "has no parent", ""},
		step{words("backup delete --yes " + ids[2]), 0, "deleted", ""},
		step{words("restore disk " + ids[3] + " 0 " + filepath.Join(h.dir, "out.raw")), 0, "compared with the restore point", "comparing"},
	)
	sameDisk(t, were[3], filepath.Join(h.dir, "out.raw"), "raw")
}
