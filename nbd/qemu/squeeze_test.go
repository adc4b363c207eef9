package qemu

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSqueeze: of an image that a client wrote whole, the differences from the parent remain. It reads as before, whatever its chain is.
func TestSqueeze(t *testing.T) {
	for name, c := range map[string]struct {
		below  []chainSpec
		size   int64
		writes []string
		keys   [4]string // by depth, the newest last
		most   int64     // bytes of the new image, beside those of an empty one
	}{
		"the same, written again": {
			below: []chainSpec{{size: 8 * MiB, full: true, writes: []string{"write -P 9 0 8M"}}},
			size:  8 * MiB, writes: []string{"write -P 9 0 8M"},
		},
		"one block differs": {
			below: []chainSpec{{size: 8 * MiB, full: true, writes: []string{"write -P 9 0 8M"}}},
			size:  8 * MiB, writes: []string{"write -P 9 0 8M", "write -P 7 3M 512"}, most: 64 << 10,
		},
		"zeroes over data": {
			below: []chainSpec{{size: 8 * MiB, full: true, writes: []string{"write -P 9 0 8M"}}},
			size:  8 * MiB, writes: []string{"write -P 9 0 4M", "write -z 4M 4M"},
		},
		"written zeroes over nothing": {
			below: []chainSpec{{size: 8 * MiB, full: true}}, size: 8 * MiB, writes: []string{"write -P 0 0 8M"},
		},
		"holds nothing":            {below: awkward[:2], size: 12 * MiB},
		"a long chain, part of it": {below: awkward, size: awkward[len(awkward)-1].size, writes: []string{"write -P 9 1M 512", "write -z 2M 512k"}, most: 128 << 10},
		"has grown": {
			below: []chainSpec{{size: 4*MiB + 512, full: true, writes: []string{"write -P 9 0 4M"}}},
			size:  12 * MiB, writes: []string{"write -P 9 0 4M", "write -P 5 9M 64k", "write -P 0 5M 1M"}, most: 128 << 10,
		},
		"has shrunk": {
			below: []chainSpec{{size: 12 * MiB, full: true, writes: []string{"write -P 9 0 12M"}}},
			size:  4*MiB + 512, writes: []string{"write -P 9 0 4M", "write -P 5 4M 512"}, most: 128 << 10,
		},
		"is encrypted": {
			below: []chainSpec{{size: 4 * MiB, full: true, writes: []string{"write -P 9 0 4M"}}, {size: 6 * MiB, writes: []string{"write -P 8 5M 64k"}}},
			size:  8 * MiB, writes: []string{"write -P 9 0 4M", "write -P 8 5M 64k", "write -P 7 7M 64k"},
			keys: [4]string{oneKey, otherKey, oneKey}, most: 128 << 10,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tempDir(t)
			specs := append(append([]chainSpec(nil), c.below...), chainSpec{size: c.size, writes: c.writes})
			for i := range specs {
				if i < len(c.keys) {
					specs[i].key = c.keys[i]
				}
			}
			chain := newChain(t, dir, specs...)
			before := contents(t, chain)
			info, err := Tools{}.Info(chain[0].Path)
			if err != nil {
				t.Fatal(err)
			}
			spec := SqueezeSpec{
				Image: chain[0], Path: filepath.Join(filepath.Dir(chain[0].Path), "disk.qcow2.squeezed"), Backing: info.BackingFile,
				Base: chain[1:], SizeBytes: c.size, Cache: "writeback",
			}
			if err := (Tools{}).Squeeze(testContext(t), spec); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, contents(t, chain)); diff != "" {
				t.Error("other images were changed")
			}
			made := Layer{spec.Path, chain[0].Key}
			tools := Tools{}.WithKey(made.Key)
			if found, err := tools.Check(testContext(t), made.Path); err != nil || found.Leaks != 0 {
				t.Errorf("%+v, %v", found, err)
			}
			if err := tools.Compare(testContext(t), chain, append([]Layer{made}, chain[1:]...)); err != nil {
				t.Error(err)
			}
			empty := filepath.Join(dir, "empty.qcow2")
			if err := tools.Create(testContext(t), ImageSpec{Path: empty, SizeBytes: c.size}); err != nil {
				t.Fatal(err)
			}
			if got, least := allocated(t, made.Path), allocated(t, empty); got > least+c.most+128<<10 {
				t.Errorf("it takes %d bytes, an empty image takes %d, the client's %d", got, least, allocated(t, chain[0].Path))
			}
		})
	}
}

// TestSqueezeFails: a squeeze that cannot be done changes nothing.
func TestSqueezeFails(t *testing.T) {
	dir := tempDir(t)
	chain := newChain(t, dir, chainSpec{size: 4 * MiB, full: true, writes: []string{"write -P 9 0 4M"}}, chainSpec{size: 4 * MiB, writes: []string{"write -P 9 0 4M"}})
	before := contents(t, chain)
	spec := SqueezeSpec{Image: chain[0], Path: chain[0].Path + ".squeezed", Backing: "../a/disk.qcow2", Base: chain[1:], SizeBytes: 4 * MiB, Cache: "writeback"}
	if err := os.WriteFile(spec.Path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (Tools{}).Squeeze(testContext(t), spec); err == nil {
		t.Error("it replaced a file")
	}
	if diff := cmp.Diff(before, contents(t, chain)); diff != "" {
		t.Error("images were changed")
	}
}

// allocated returns how many bytes a file takes on the disk.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	info, err := Tools{}.Info(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ActualBytes
}
