package repository

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
)

// TestLookAt: an image that somebody else could have written, that has another size, or that its exporter cannot read is reported. What a
// file system does not store, and what changes when the whole repository is copied, is not.
func TestLookAt(t *testing.T) {
	const other = 4001
	type files struct{ dir, image, manifest string }
	for name, c := range map[string]struct {
		change func(f files) error
		words  string // "" for nothing
		err    error  // in place of a finding
	}{
		"nothing":             {change: func(files) error { return nil }},
		"the owner":           {change: func(f files) error { return os.Chown(f.image, other, -1) }, words: "belongs to uid 4001"},
		"the exporters' user": {change: func(f files) error { return os.Chown(f.image, nobody.UID, -1) }, words: "belongs to uid 65534"},
		"the owner of all": {change: func(f files) error {
			return errors.Join(os.Chown(f.image, other, -1), os.Chown(f.manifest, other, -1), os.Chown(f.dir, other, -1))
		}},
		"the directory's owner": {change: func(f files) error { return os.Chown(f.dir, other, -1) }, words: "is in a directory of uid 4001"},
		"the directory's mode":  {change: func(f files) error { return os.Chmod(f.dir, 0o777) }, words: "is in a directory that others can write"},
		"the group may write":   {change: func(f files) error { return os.Chmod(f.image, 0o460) }, words: "mode 0460"},
		"all may write":         {change: func(f files) error { return os.Chmod(f.image, 0o442) }, words: "mode 0442"},
		"all may write everything": {change: func(f files) error {
			return errors.Join(os.Chmod(f.image, 0o777), os.Chmod(f.manifest, 0o777), os.Chmod(f.dir, 0o777))
		}},
		"the owner may write":       {change: func(f files) error { return os.Chmod(f.image, 0o644) }}, // after cp
		"its exporter may not read": {change: func(f files) error { return os.Chmod(f.image, 0o400) }, words: "cannot be read by its exporter"},
		"longer":                    {change: func(f files) error { return os.Truncate(f.image, 4097) }, words: "has 4097 bytes, but had 4096"},
		"shorter":                   {change: func(f files) error { return os.Truncate(f.image, 4095) }, words: "has 4095 bytes, but had 4096"},
		"gone":                      {change: func(f files) error { return os.Remove(f.image) }, err: os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t, nobody)
			m := manifesttest.Full("vm", 1_700_000_000)
			vm, dir := makeBackup(t, r, m)
			image := filepath.Join(dir, m.Disks[0].File)
			must(t, os.Truncate(image, 4096))
			m.Disks[0].Digest = &digest.Digest{Algorithm: digest.Algorithm, Value: strings.Repeat("0", 64), Bytes: 4096}
			must(t, r.Publish(vm, m))
			must(t, c.change(files{dir, image, filepath.Join(dir, manifest.FileName)}))
			err := r.LookAt(vm, m.BackupID, m.Disks[0])
			var changed *Changed
			switch found := errors.As(err, &changed); {
			case c.err != nil:
				wantIs(t, err, c.err)
			case found != (c.words != ""), err != nil && !found:
				t.Errorf("%v, want %q", err, c.words)
			case found && (changed.Path != image || !strings.Contains(changed.How, c.words)):
				t.Errorf("%v, want %q", err, c.words)
			}
		})
	}
}
