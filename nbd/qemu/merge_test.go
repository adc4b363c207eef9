package qemu

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// chainSpec is one image of a chain, and what is written to it.
type chainSpec struct {
	size   int64
	full   bool // has no parent
	writes []string
	key    string // "" if it is not encrypted
}

// newChain makes images in directories of their own, each based on the one before, and returns them, the newest first.
func newChain(t *testing.T, dir string, specs ...chainSpec) []Layer {
	t.Helper()
	var chain []Layer
	for i, s := range specs {
		spec := ImageSpec{Path: filepath.Join(dir, string(rune('a'+i)), "disk.qcow2"), SizeBytes: s.size}
		if i > 0 && !s.full {
			spec.BackingFile = "../" + string(rune('a'+i-1)) + "/disk.qcow2"
		} else {
			spec.ClusterBytes, spec.ExtendedL2 = FullClusterBytes, true
		}
		if err := os.Mkdir(filepath.Dir(spec.Path), 0o755); err != nil {
			t.Fatal(err)
		}
		image := Layer{Path: spec.Path}
		if s.key != "" {
			image.Key = secret(t, s.key)
		}
		create(t, spec, image.Key)
		chain = append([]Layer{image}, chain...)
		write(t, dir, chain, s.writes)
		if err := os.Chmod(spec.Path, 0o440); err != nil {
			t.Fatal(err)
		}
	}
	return chain
}

// create makes an image. QEMU takes seconds for an encrypted one, so that a copy is kept for the next chain that begins in the same way.
func create(t *testing.T, spec ImageSpec, key Secret) {
	t.Helper()
	name := strings.Join([]string{filepath.Base(filepath.Dir(spec.Path)), fmt.Sprint(spec.SizeBytes), key.text}, "-")
	kept := filepath.Join(templatesDir, name+".qcow2")
	if _, err := os.Stat(kept); err == nil && !key.IsZero() {
		copyFile(t, kept, spec.Path)
		return
	}
	if err := (Tools{}).WithKey(key).Create(testContext(t), spec); err != nil {
		t.Fatal(err)
	}
	if !key.IsZero() {
		if err := os.MkdirAll(templatesDir, 0o755); err != nil {
			t.Fatal(err)
		}
		copyFile(t, spec.Path, kept)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", "--sparse=auto", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// write runs commands of qemu-io on a chain of images.
func write(t *testing.T, dir string, chain []Layer, commands []string) {
	t.Helper()
	var args []string
	c := &call{}
	name, err := chainNode(c.nodes(chain)).name()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range c.keys {
		file := filepath.Join(dir, c.keys.id(k))
		if err := os.WriteFile(file, []byte(k.text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--object", "secret,id="+c.keys.id(k)+",file="+file)
	}
	for _, w := range commands {
		args = append(args, "-c", w)
	}
	if out, err := exec.Command("qemu-io", append(args, name)...).CombinedOutput(); err != nil || strings.Contains(string(out), "failed") {
		t.Fatalf("qemu-io: %v: %s", err, out)
	}
}

// awkward is a chain of a disk to which all happens: it grows twice, data is zeroed, also beyond the end of its parent, and parts
// of clusters are written again.
var awkward = []chainSpec{
	{size: 8 * MiB, full: true, writes: []string{"write -P 1 0 3M", "write -P 2 5M 3M"}},
	{size: 8 * MiB, writes: []string{"write -P 3 1M 64k", "write -z 2M 512k"}},
	{size: 12 * MiB, writes: []string{"write -P 4 9M 2M", "write -P 5 5M 1M", "write -P 9 512 512"}},
	{size: 16 * MiB, writes: []string{"write -z 9M 1M", "write -P 6 14M 4k", "write -P 7 5632k 4k", "write -z 0 64k"}},
	{size: 16 * MiB, writes: []string{"write -P 8 15M 1M"}},
}

// TestMerge: for any layers and any base, the new image reads as the old one, the old images are unchanged, and data of the base is
// not copied.
func TestMerge(t *testing.T) {
	for name, c := range map[string]struct{ from, layers int }{
		"one middle":            {1, 2},
		"two middles":           {1, 3},
		"the first":             {0, 5},
		"a middle and the last": {3, 2},
		"a full image":          {4, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tempDir(t)
			chain := newChain(t, dir, awkward...)[c.from:]
			mergeAndLook(t, dir, Tools{}, chain, min(c.layers, len(chain)))
		})
	}
}

// mergeAndLook merges the newest images of a chain, and fails the test unless the new one reads as they did.
func mergeAndLook(t *testing.T, dir string, tools Tools, chain []Layer, layers int) {
	t.Helper()
	before, base := contents(t, chain), chain[layers:]
	spec := ImageSpec{Path: filepath.Join(dir, "new", "disk.qcow2")}
	top, err := tools.Info(chain[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	spec.SizeBytes = top.VirtualBytes
	if len(base) > 0 {
		spec.BackingFile = "../" + filepath.Base(filepath.Dir(base[0].Path)) + "/disk.qcow2"
	}
	if err := os.Mkdir(filepath.Dir(spec.Path), 0o755); err != nil {
		t.Fatal(err)
	}
	last := 0.0
	m := MergeSpec{Layers: chain[:layers], Base: base, Image: spec, Cache: "writeback", Progress: func(f float64) { last = f }}
	if err := tools.Merge(testContext(t), m); err != nil {
		t.Fatal(err)
	}
	if last != 1 {
		t.Errorf("progress ends at %v", last)
	}
	merged := append([]Layer{{spec.Path, tools.Key}}, base...)
	if err := tools.Compare(testContext(t), chain, merged); err != nil {
		t.Error(err)
	}
	if result, err := tools.Check(testContext(t), spec.Path); err != nil || result.Leaks != 0 {
		t.Errorf("%+v, %v", result, err)
	}
	if info, err := tools.Info(spec.Path); err != nil || info.BackingFile != spec.BackingFile || info.Encrypted == tools.Key.IsZero() {
		t.Errorf("%+v, %v", info, err)
	}
	if diff := cmp.Diff(before, contents(t, chain)); diff != "" {
		t.Error("a layer was changed")
	}
	if left, err := filepath.Glob(filepath.Dir(spec.Path) + "/*"); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestMergeEncrypted: images with several keys are merged into one with another key, in any place of the chain.
func TestMergeEncrypted(t *testing.T) {
	specs := slices.Clone(awkward[:4])
	for i := range specs {
		specs[i].key = []string{oneKey, oneKey, otherKey, otherKey}[i]
	}
	dir := filepath.Join(tempDir(t), `dé "x" <&> 𝄞 $`)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	chain := newChain(t, dir, specs...)
	third := Tools{}.WithKey(secret(t, strings.ToUpper(oneKey)))
	for name, layers := range map[string]int{"two middles, on two": 2, "a middle, on one": 3, "all": 4} {
		t.Run(name, func(t *testing.T) {
			mergeAndLook(t, dir, third, chain, layers)
			if err := os.RemoveAll(filepath.Join(dir, "new")); err != nil {
				t.Fatal(err)
			}
		})
	}
	wrong := slices.Clone(chain)
	wrong[3].Key = secret(t, otherKey)
	if err := third.Compare(testContext(t), chain, wrong); !errors.Is(err, ErrWrongKey) {
		t.Errorf("compared with a wrong key: %v", err)
	}
	wrong[3].Key = Secret{}
	if err := third.Compare(testContext(t), chain, wrong); !errors.Is(err, ErrKeyNeeded) {
		t.Errorf("compared with no key: %v", err)
	}
}

func contents(t *testing.T, chain []Layer) []string {
	var list []string
	for _, l := range chain {
		text, err := os.ReadFile(l.Path)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(text))
	}
	return list
}

// TestMergeTakesNoMore: data of the base is not copied into the new image.
func TestMergeTakesNoMore(t *testing.T) {
	dir := tempDir(t)
	chain := newChain(t, dir, chainSpec{size: 64 * MiB, full: true, writes: []string{"write -P 1 0 32M"}},
		chainSpec{size: 64 * MiB, writes: []string{"write -P 2 0 1M"}}, chainSpec{size: 64 * MiB, writes: []string{"write -P 3 2M 1M"}})
	spec := ImageSpec{Path: filepath.Join(dir, "c", "new.qcow2"), SizeBytes: 64 * MiB, BackingFile: "../a/disk.qcow2"}
	if err := (Tools{}).Merge(testContext(t), MergeSpec{Layers: chain[:2], Base: chain[2:], Image: spec, Cache: "writeback"}); err != nil {
		t.Fatal(err)
	}
	info, err := (Tools{}).Info(spec.Path)
	if err != nil || info.ActualBytes > 4*MiB || info.BackingFile != spec.BackingFile {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestMergeStaysSparse: zeroes that a backup received need no more space in the new image than in the old ones, also if only parts
// of clusters have data.
func TestMergeStaysSparse(t *testing.T) {
	dir := tempDir(t)
	full := chainSpec{size: 256 * MiB, full: true, writes: []string{"write -z 0 256M"}}
	next := chainSpec{size: 256 * MiB}
	for at := 0; at < 256; at += 4 {
		full.writes = append(full.writes, fmt.Sprintf("write -P 1 %dk 100k", at<<10+1100))
		next.writes = append(next.writes, fmt.Sprintf("write -P 2 %dk 4k", at<<10+1300))
	}
	chain := newChain(t, dir, full, next)
	spec := ImageSpec{Path: filepath.Join(dir, "b", "new.qcow2"), SizeBytes: 256 * MiB, ClusterBytes: FullClusterBytes, ExtendedL2: true}
	if err := (Tools{}).Merge(testContext(t), MergeSpec{Layers: chain, Image: spec, Cache: "writeback"}); err != nil {
		t.Fatal(err)
	}
	if err := (Tools{}).Compare(testContext(t), chain, []Layer{{Path: spec.Path}}); err != nil {
		t.Error(err)
	}
	info, err := (Tools{}).Info(spec.Path)
	if err != nil {
		t.Fatal(err)
	}
	most := int64(0)
	for _, old := range chain {
		info, err := (Tools{}).Info(old.Path)
		if err != nil {
			t.Fatal(err)
		}
		most += info.ActualBytes
	}
	if info.ActualBytes > most {
		t.Errorf("the new image takes %d bytes, and the old ones %d", info.ActualBytes, most)
	}
}

// TestMergeTakesItsData: a merged image takes 1.02 times its blocks of 64 KiB that have data, and the LUKS header of an encrypted one, and
// the estimate before is within 5 % of it. The layers hold zeroes between the data.
func TestMergeTakesItsData(t *testing.T) {
	const size, wrote, again, spot = 256 * MiB, 700 << 10, 8, 20 << 10
	scattered := func(pattern int) (w []string) {
		for at := 0; at < size; at += 4 * MiB {
			w = append(w, fmt.Sprintf("write -P %d %d %d", pattern, at+MiB, wrote))
		}
		return w
	}
	data := int64(size / (4 * MiB) * ((wrote + mergedBlock - 1) / mergedBlock) * mergedBlock)
	full := chainSpec{size: size, full: true, writes: append([]string{"write -z 0 256M"}, scattered(1)...)}
	next := chainSpec{size: size}
	for i := range again {
		next.writes = append(next.writes, fmt.Sprintf("write -P 3 %d %d", i*32*MiB+MiB, spot)) // in blocks that have data
	}
	large := chainSpec{size: size, writes: append([]string{"write -z 128M 64M"}, scattered(2)...)}
	for name, c := range map[string]struct {
		chain  []chainSpec
		layers int
		key    string
	}{
		"a full one":        {[]chainSpec{full, next}, 2, ""},
		"an incremental":    {[]chainSpec{{size: size, full: true}, large, next}, 2, ""},
		"an encrypted full": {[]chainSpec{full, next}, 2, oneKey},
	} {
		t.Run(name, func(t *testing.T) {
			dir, tools := tempDir(t), Tools{}
			for i := range c.chain {
				c.chain[i].key = c.key
			}
			if c.key != "" {
				tools.Key = secret(t, c.key)
			}
			chain := newChain(t, dir, c.chain...)
			m := MergeSpec{Layers: chain[:c.layers], Base: chain[c.layers:], Cache: "writeback"}
			m.Image = ImageSpec{Path: filepath.Join(dir, "b", "new.qcow2"), SizeBytes: size}
			if len(m.Base) > 0 {
				m.Image.BackingFile = "../a/disk.qcow2"
			}
			estimate, err := tools.MergedBytes(testContext(t), m.Layers, m.Base)
			if err != nil {
				t.Fatal(err)
			}
			if err := tools.Merge(testContext(t), m); err != nil {
				t.Fatal(err)
			}
			if err := tools.Compare(testContext(t), chain, append([]Layer{{m.Image.Path, tools.Key}}, m.Base...)); err != nil {
				t.Error(err)
			}
			info, err := tools.Info(m.Image.Path)
			most := data + data/50
			if c.key != "" {
				most += luksHeader
			}
			if err != nil || info.ActualBytes > most || info.ActualBytes < data {
				t.Errorf("%d bytes for %d bytes of data: %+v, %v", info.ActualBytes, data, info, err)
			}
			if off := estimate - info.ActualBytes; off > info.ActualBytes/20 || off < -info.ActualBytes/20 {
				t.Errorf("the estimate was %d bytes, and it takes %d", estimate, info.ActualBytes)
			}
		})
	}
}

// TestMergeBesideReaders: images can be merged while they are served, and served while they are merged.
func TestMergeBesideReaders(t *testing.T) {
	dir := tempDir(t)
	chain := newChain(t, dir, awkward[:3]...)
	served := exec.Command("qemu-io", "-r", "-f", "qcow2", chain[0].Path)
	stdin, err := served.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := served.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := served.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write([]byte("read 0 512\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil { // it has the images open
		t.Fatal(err)
	}
	spec := ImageSpec{Path: filepath.Join(dir, "c", "new.qcow2"), SizeBytes: 12 * MiB, BackingFile: "../a/disk.qcow2"}
	if err := (Tools{}).Merge(testContext(t), MergeSpec{Layers: chain[:2], Base: chain[2:], Image: spec, Cache: "writeback"}); err != nil {
		t.Error(err)
	}
	if err := (Tools{}).Compare(testContext(t), chain, append([]Layer{{Path: spec.Path}}, chain[2:]...)); err != nil {
		t.Error(err)
	}
	_ = stdin.Close()
	_, _ = io.Copy(io.Discard, stdout)
	if err := served.Wait(); err != nil {
		t.Error(err)
	}
}

func TestCompareDiffers(t *testing.T) {
	dir := tempDir(t)
	chain := newChain(t, dir, awkward...)
	if err := (Tools{}).Compare(testContext(t), chain, chain[1:]); !errors.Is(err, ErrDiffers) {
		t.Errorf("%v", err)
	}
	damaged := filepath.Join(dir, "b", "disk.qcow2")
	if err := os.Truncate(damaged, 100); err != nil {
		t.Fatal(err)
	}
	if err := (Tools{}).Compare(testContext(t), chain, chain[1:]); err == nil || errors.Is(err, ErrDiffers) {
		t.Errorf("of an image that cannot be read: %v", err)
	}
}

// TestMergeFollowsNoHeader: if a layer names another file as its backing file, that file is not read.
func TestMergeFollowsNoHeader(t *testing.T) {
	dir := tempDir(t)
	chain := newChain(t, dir, awkward[:3]...)
	secret := filepath.Join(dir, "secret.qcow2")
	newImage(t, secret, 8*MiB)
	if err := os.Chmod(chain[2].Path, 0o640); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", secret, chain[2].Path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	spec := ImageSpec{Path: filepath.Join(dir, "c", "new.qcow2"), SizeBytes: 12 * MiB, BackingFile: "../a/disk.qcow2"}
	err := (Tools{}).Merge(testContext(t), MergeSpec{Layers: chain[:2], Base: chain[2:], Image: spec, Cache: "writeback"})
	if err == nil || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("the base named a file of its own, and it was opened: %v", err)
	}
}
