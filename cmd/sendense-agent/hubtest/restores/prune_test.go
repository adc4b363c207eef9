package restores_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestPruneCommand: from the command line alone, a policy removes what it keeps no longer, and says before what goes and why; a
// chain is merged and consolidated, and every disk that is kept comes out as it was.
func TestPruneCommand(t *testing.T) {
	h := hubtest.New(t, "[[policy]]\nid = \"gold\"\nkeep_last = 2\nexpired_middle = \"merge\"\n")
	sources := h.AddVM("pgtest1", hubtest.DiskSize)
	h.Steps(
		hubtest.Step(hubtest.Words("backup start pgtest1 --policy golf"), 1, "", `policy_id "golf" is not configured`),
		hubtest.Step(hubtest.Words("backup prune"), 2, "", "use --yes"),
		hubtest.Step(hubtest.Words("backup prune nobody --dry-run"), 1, "", `"nobody" is not on record`),
	)
	var ids, were []string
	for i, kind := range []string{"full", "incremental", "incremental", "incremental"} {
		code, stdout, stderr := h.CTL("backup", "start", "pgtest1", "--type", kind, "--policy", "gold", "--wait", "-o", "json")
		var b rpc.Backup
		if err := json.Unmarshal([]byte(stdout), &b); err != nil || code != 0 {
			t.Fatalf("%d %s %s", code, stdout, stderr)
		}
		was := filepath.Join(t.TempDir(), "was")
		hubtest.Run(t, "cp", "--sparse=always", sources[0], was)
		ids, were = append(ids, b.BackupID), append(were, was)
		f, err := os.OpenFile(sources[0], os.O_WRONLY, 0)
		hubtest.Must(t, err)
		_, err = f.WriteAt([]byte{byte(i + 1)}, int64(i)*4096)
		hubtest.Must(t, err)
		hubtest.Must(t, f.Close())
	}
	h.Steps(
		hubtest.Step(hubtest.Words("backup prune --dry-run"), 0, "expired, into "+ids[2], ""),
		hubtest.Step(hubtest.Words("backup prune pgtest1 --dry-run"), 0, "last #1", ""),
		hubtest.Step(hubtest.Words("backup prune pgtest1 --dry-run -o json"), 0, `"removed_count": 2`, ""),
		hubtest.Step(hubtest.Words("backup prune --yes"), 0, "2 restore points removed, 2 kept", ""),
		hubtest.Step(hubtest.Words("backup show "+ids[0]), 1, "", "is not on record"),
		hubtest.Step(hubtest.Words("backup show "+ids[2]), 0, "a synthetic full backup", ""),
		hubtest.Step(hubtest.Words("backup consolidate "+ids[3]), 0, "has no parent", ""),
		hubtest.Step(hubtest.Words("backup delete --yes "+ids[2]), 0, "deleted", ""),
		hubtest.Step(hubtest.Words("restore disk "+ids[3]+" 0 "+filepath.Join(h.Dir, "out.raw")), 0, "compared with the restore point", "comparing"),
	)
	hubtest.SameDisk(t, were[3], filepath.Join(h.Dir, "out.raw"), "raw")
}
