package qemu

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFlatten: however much data an image holds itself, afterwards it has no parent and reads as before, also if Flatten is
// repeated.
func TestFlatten(t *testing.T) {
	for name, c := range map[string]struct {
		size   int64
		writes []string
		keys   [3]string
	}{
		"holds everything": {size: 8 * MiB, writes: []string{"write -P 9 0 4M", "write -z 4M 4M"}},
		"holds nothing":    {size: 8 * MiB},
		"holds a part":     {size: 8 * MiB, writes: []string{"write -P 9 1M 512", "write -z 2M 512k"}},
		"has grown":        {size: 12 * MiB, writes: []string{"write -P 9 9M 1M"}},
		"is encrypted":     {size: 12 * MiB, writes: []string{"write -P 9 1M 512"}, keys: [3]string{oneKey, oneKey, otherKey}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tempDir(t)
			specs := []chainSpec{awkward[0], awkward[1], {size: c.size, writes: c.writes}}
			for i := range specs {
				specs[i].key = c.keys[i]
			}
			chain := newChain(t, dir, specs...)
			old := copyOf(t, dir, chain[0])
			below := contents(t, chain[1:])
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(os.Chmod(chain[0].Path, 0o640))
			spec := FlattenSpec{Image: chain[0], Backing: "../b/disk.qcow2", Base: chain[1:], SizeBytes: c.size, Cache: "writeback"}
			tools := Tools{}.WithKey(chain[0].Key)
			for range 2 {
				must(tools.Flatten(testContext(t), spec))
				info, err := tools.Info(chain[0].Path)
				if err != nil || info.BackingFile != "" || info.VirtualBytes != c.size {
					t.Errorf("%+v, %v", info, err)
				}
				must(tools.Compare(testContext(t), append([]Layer{old}, chain[1:]...), chain[:1]))
				if found, err := tools.Check(testContext(t), chain[0].Path); err != nil || found.Leaks != 0 {
					t.Errorf("%+v, %v", found, err)
				}
			}
			if diff := cmp.Diff(below, contents(t, chain[1:])); diff != "" {
				t.Error("its parents were changed")
			}
		})
	}
}

// TestFlattenHeaderFirst: after a power failure the new header may be on the disk without the tables of the copied data.
func TestFlattenHeaderFirst(t *testing.T) {
	dir := tempDir(t)
	chain := newChain(t, dir, awkward[:3]...)
	old := copyOf(t, dir, chain[0])
	if err := os.Chmod(chain[0].Path, 0o640); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "", chain[0].Path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := (Tools{}).Compare(testContext(t), append([]Layer{old}, chain[1:]...), chain[:1]); !errors.Is(err, ErrDiffers) {
		t.Fatalf("it lacks nothing: %v", err)
	}
	spec := FlattenSpec{Image: chain[0], Backing: "../b/disk.qcow2", Base: chain[1:], SizeBytes: 12 * MiB, Cache: "writeback"}
	if err := (Tools{}).Flatten(testContext(t), spec); err != nil {
		t.Fatal(err)
	}
	if err := (Tools{}).Compare(testContext(t), append([]Layer{old}, chain[1:]...), chain[:1]); err != nil {
		t.Error(err)
	}
}

// copyOf copies an image as it is now.
func copyOf(t *testing.T, dir string, image Layer) Layer {
	t.Helper()
	old := Layer{filepath.Join(dir, "old.qcow2"), image.Key}
	text, err := os.ReadFile(image.Path)
	if err == nil {
		err = os.WriteFile(old.Path, text, 0o640)
	}
	if err != nil {
		t.Fatal(err)
	}
	return old
}
