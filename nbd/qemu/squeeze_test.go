package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
		whole  bool      // the image has no parent
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
		"whole, one block differs": {
			below: []chainSpec{{size: 8 * MiB, full: true, writes: []string{"write -P 9 0 8M"}}},
			size:  8 * MiB, whole: true, writes: []string{"write -P 9 0 8M", "write -P 7 3M 512"}, most: 64 << 10,
		},
		"whole, holes over data": {
			below: []chainSpec{{size: 8 * MiB, full: true, writes: []string{"write -P 9 0 8M"}}},
			size:  8 * MiB, whole: true, writes: []string{"write -P 9 1M 2M"},
		},
		"whole, over a long chain": {below: awkward, size: 16 * MiB, whole: true, writes: []string{"write -P 8 15M 1M", "write -P 4 12M 512"}, most: 128 << 10},
		"whole, larger than the parent": {
			below: []chainSpec{{size: 4*MiB + 512, full: true, writes: []string{"write -P 9 0 4M"}}},
			size:  12 * MiB, whole: true, writes: []string{"write -P 9 0 4M", "write -P 5 9M 64k"}, most: 128 << 10,
		},
		"whole, smaller than the parent": {
			below: []chainSpec{{size: 12 * MiB, full: true, writes: []string{"write -P 9 0 12M"}}},
			size:  4*MiB + 512, whole: true, writes: []string{"write -P 9 0 4M", "write -P 5 4M 512"}, most: 128 << 10,
		},
		"whole and encrypted": {
			below: []chainSpec{{size: 4 * MiB, full: true, writes: []string{"write -P 9 0 4M"}}, {size: 6 * MiB, writes: []string{"write -P 8 5M 64k"}}},
			size:  8 * MiB, whole: true, writes: []string{"write -P 9 0 4M", "write -P 8 5M 64k", "write -P 7 7M 64k"},
			keys: [4]string{oneKey, otherKey, oneKey}, most: 128 << 10,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := longDir(t)
			specs := append(append([]chainSpec(nil), c.below...), chainSpec{size: c.size, full: c.whole, writes: c.writes})
			for i := range specs {
				if i < len(c.keys) {
					specs[i].key = c.keys[i]
				}
			}
			chain := newChain(t, dir, specs...)
			before := contents(t, chain)
			spec := squeezeSpec(chain, c.size)
			if c.whole {
				spec.Base = nil
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
			if err := tools.Compare(testContext(t), append([]Layer{chain[0]}, spec.Base...), append([]Layer{made}, chain[1:]...)); err != nil {
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

// longDir makes a directory with so long a path that a header cannot hold the name by which QEMU opens an encrypted image.
func longDir(t *testing.T) string {
	t.Helper()
	dir := tempDir(t)
	for left := 950 - len(dir); left > 0; left -= 200 {
		dir = filepath.Join(dir, strings.Repeat("d", min(left, 200)))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// squeezeSpec is for the newest image of a chain, which is based on the next.
func squeezeSpec(chain []Layer, size int64) SqueezeSpec {
	next, _ := filepath.Rel(filepath.Dir(chain[0].Path), chain[1].Path)
	return SqueezeSpec{
		Image: chain[0], Path: chain[0].Path + ".squeezed", Backing: next, Base: chain[1:], Onto: chain[1:], SizeBytes: size, MaxBytes: size, Cache: "writeback",
	}
}

// TestSqueezeFails: a squeeze that cannot be done changes nothing.
func TestSqueezeFails(t *testing.T) {
	noRoom := errors.New("no room")
	for name, c := range map[string]struct {
		change func(*SqueezeSpec)
		want   error
	}{
		"a file has its name":            {func(s *SqueezeSpec) { _ = os.WriteFile(s.Path, []byte("x"), 0o600) }, os.ErrExist},
		"everything differs":             {func(s *SqueezeSpec) { s.MaxBytes = 1 * MiB }, ErrTooLarge},
		"there is no room":               {func(s *SqueezeSpec) { s.Room = func() error { return noRoom } }, noRoom},
		"it is to be based on no parent": {func(s *SqueezeSpec) { s.Onto[0].Path += ".gone" }, os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			chain := newChain(t, tempDir(t), chainSpec{size: 8 * MiB, full: true, writes: []string{"write -P 9 0 8M"}}, chainSpec{size: 8 * MiB, writes: []string{"write -P 8 0 8M"}})
			before := contents(t, chain)
			spec := squeezeSpec(chain, 8*MiB)
			spec.Onto = slices.Clone(spec.Onto)
			c.change(&spec)
			if err := (Tools{}).Squeeze(testContext(t), spec); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if diff := cmp.Diff(before, contents(t, chain)); diff != "" {
				t.Error("images were changed")
			}
		})
	}
}

// TestMergeSqueezedOnto: a chain with an image that is smaller than its parent, as Squeeze makes them of a replaced disk, is merged to what
// it reads as, wherever the images above it end.
func TestMergeSqueezedOnto(t *testing.T) {
	specs := []chainSpec{
		{size: 12 * MiB, full: true, writes: []string{"write -P 1 0 12M"}},
		{size: 4*MiB + 512, writes: []string{"write -P 2 1M 64k"}},
		{size: 12 * MiB, writes: []string{"write -P 3 11M 64k"}},
		{size: 8 * MiB, writes: []string{"write -P 4 2M 64k"}},
	}
	for from := range 3 {
		for layers := 2; from+layers <= len(specs); layers++ {
			dir := tempDir(t)
			mergeAndLook(t, dir, Tools{}, newChain(t, dir, specs...)[from:], layers)
		}
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
