package chain

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/storage"
)

// TestRecorded: the images of a disk are followed from the newest to the one that is based on none. Anything else in their way is damage.
func TestRecorded(t *testing.T) {
	repo := storage.New(storage.Options{Spec: storage.Spec{ID: "main", Path: t.TempDir()}})
	point := func(id string, runs ...record.DiskRun) record.Backup {
		return record.Backup{ID: id, VM: record.VM{Name: "vm"}, Runs: runs}
	}
	run := func(image, backing, key string) record.DiskRun {
		return record.DiskRun{Image: filepath.Join("/elsewhere", image), Backing: backing, KeyID: key}
	}
	for name, c := range map[string]struct {
		newest    record.DiskRun
		ancestors []record.Backup
		want      []string // path below the directory of the repository, and key
		damage    string
	}{
		"whole": {newest: run("a.qcow2", "", "k"), want: []string{"/elsewhere/a.qcow2 k"}},
		"ends above the last": {
			newest: run("a.qcow2", "../2/b.qcow2", "k"),
			ancestors: []record.Backup{
				point("2", run("a.qcow2", "../1/a.qcow2", "k"), run("b.qcow2", "", "")), point("1", run("b.qcow2", "", "")),
			},
			want: []string{"/elsewhere/a.qcow2 k", "vm/2/b.qcow2 "},
		},
		"three": {
			newest:    run("a.qcow2", "../2/b.qcow2", "k"),
			ancestors: []record.Backup{point("2", run("b.qcow2", "../1/c.qcow2", "j")), point("1", run("c.qcow2", "", "i"))},
			want:      []string{"/elsewhere/a.qcow2 k", "vm/2/b.qcow2 j", "vm/1/c.qcow2 i"},
		},
		"no parent":    {newest: run("a.qcow2", "../2/b.qcow2", ""), damage: "does not belong to its parent"},
		"not a parent": {newest: run("a.qcow2", "../1/b.qcow2", ""), ancestors: []record.Backup{point("2", run("b.qcow2", "", ""))}, damage: "does not belong to its parent"},
		"no image":     {newest: run("a.qcow2", "../2/b.qcow2", ""), ancestors: []record.Backup{point("2", run("a.qcow2", "", ""))}, damage: "lacks the image b.qcow2"},
	} {
		layers, err := Recorded(repo, point("3", c.newest), c.newest, c.ancestors)
		if c.damage != "" {
			if !isDamage(err) || !strings.Contains(err.Error(), c.damage) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var got []string
		for _, l := range layers {
			got = append(got, strings.TrimPrefix(l.Path(), repo.Path+"/")+" "+l.Key)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
