package crashtest_test

import (
	"path"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/crashtest/powerloss"
)

// negligence is a program that forgets to sync something, and what is seen of that at the latest.
var negligence = []struct {
	name    string
	forgets func(path string) bool
	seen    string
}{
	{"images", func(p string) bool { return path.Ext(p) == ".qcow2" }, "has a manifest and is not what its disk was"},
	{"manifests", func(p string) bool { return strings.Contains(p, "manifest.json") }, "repository: "},
	{"the database", func(p string) bool { return strings.HasPrefix(p, "state/") }, "database"},
	{"the directory of the database", func(p string) bool { return p == "state" }, "the database is gone"},
	{"directories of backups", func(p string) bool { return isDirectory(p) && strings.Count(p, "/") == 2 }, "restore point"},
	{"directories of VMs", func(p string) bool { return isDirectory(p) && strings.Count(p, "/") == 1 }, "which is not there"},
	{"the repository's directory", func(p string) bool { return p == "repository" }, "which is not there"},
}

func isDirectory(p string) bool {
	return strings.HasPrefix(p, "repository/") && !strings.Contains(p, ".")
}

// TestPowerLossIsSeen makes sure that TestPowerLoss would see what is forgotten: it takes fsyncs out of what a full backup did.
func TestPowerLossIsSeen(t *testing.T) {
	t.Parallel()
	c, log := tapeOf(t, operations[0])
	i := newInspector(c)
	for _, n := range negligence {
		t.Run(n.name, func(t *testing.T) {
			forgetful := log.Without(func(op powerloss.Op) bool { return op.Kind == powerloss.Sync && n.forgets(op.Path) })
			if len(forgetful.Ops) == len(log.Ops) {
				t.Fatal("nothing of that is ever synced")
			}
			err := i.walk(forgetful, outsideImages, func(m moment) error { return i.check(m.state, m.facts) })
			if err == nil || !strings.Contains(err.Error(), n.seen) {
				t.Errorf("nobody sees it, or something else: %v", err)
			}
			t.Log(err)
		})
	}
}
