package qemu

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qcow2"
)

func TestWhatIsNoImage(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	path := filepath.Join(dir, "x")
	image := newImage(t, filepath.Join(dir, "real.qcow2"), MiB)
	write := func(content []byte) func() error {
		return func() error { return os.WriteFile(path, content, 0o600) }
	}
	header := func(version byte) []byte {
		return append([]byte{'Q', 'F', 'I', 0xfb, 0, 0, 0, version}, make([]byte, 200)...)
	}
	for name, test := range map[string]struct {
		make func() error
		want error // nil: any
	}{
		"missing":       {func() error { return nil }, fs.ErrNotExist},
		"empty":         {write(nil), qcow2.ErrNotQcow2},
		"junk":          {write(bytes.Repeat([]byte("x"), 9999)), qcow2.ErrNotQcow2},
		"version 9":     {write(header(9)), qcow2.ErrNotQcow2},
		"cut short":     {write(header(3)[:80]), qcow2.ErrNotQcow2},
		"only a header": {write(header(3)), qcow2.ErrNotQcow2},
		"directory":     {func() error { return os.Mkdir(path, 0o700) }, nil},
		"FIFO":          {func() error { return syscall.Mkfifo(path, 0o600) }, nil},
		"symlink":       {func() error { return os.Symlink(image, path) }, syscall.ELOOP},
	} {
		if err := test.make(); err != nil {
			t.Fatal(err)
		}
		_, infoErr := (Tools{}).Info(path)
		_, checkErr := (Tools{}).Check(ctx, path)
		for _, err := range []error{infoErr, checkErr} {
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

func qemuImgCreate(t *testing.T, args ...string) {
	t.Helper()
	args = append([]string{"create", "-q", "-f", "qcow2"}, args...)
	if output, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
}

// TestHostileBackingFile: what an image names is not opened.
func TestHostileBackingFile(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	bait := filepath.Join(dir, "bait") // to open it for reading would hang
	if err := syscall.Mkfifo(bait, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "hostile.qcow2")
	for _, backing := range []string{
		bait, "/nonexistent", "hostile.qcow2", "nbd://127.0.0.1:1/x", `json:{"driver":"file","filename":"` + bait + `"}`,
	} {
		qemuImgCreate(t, "-u", "-b", backing, "-F", "raw", path, "1M")
		if info, err := (Tools{}).Info(path); err != nil || info.BackingFile != backing {
			t.Errorf("%s: %+v, %v", backing, info, err)
		}
		if _, err := (Tools{}).Check(ctx, path); err != nil {
			t.Errorf("%s: %v", backing, err)
		}
		if _, err := (Tools{}).RepairLeaks(ctx, path); err != nil {
			t.Errorf("%s: %v", backing, err)
		}
		child := ImageSpec{Path: filepath.Join(dir, "child.qcow2"), SizeBytes: MiB, BackingFile: "hostile.qcow2"}
		if err := (Tools{}).Create(ctx, child); err != nil {
			t.Errorf("%s: %v", backing, err)
		}
		if err := os.Remove(child.Path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExternalDataIsRefused(t *testing.T) {
	ctx, dir := testContext(t), tempDir(t)
	path := filepath.Join(dir, "data.qcow2")
	qemuImgCreate(t, "-o", "data_file="+filepath.Join(dir, "raw"), path, "1M")
	_, infoErr := (Tools{}).Info(path)
	_, checkErr := (Tools{}).Check(ctx, path)
	createErr := (Tools{}).Create(ctx, ImageSpec{Path: filepath.Join(dir, "child"), SizeBytes: MiB, BackingFile: "data.qcow2"})
	for _, err := range []error{infoErr, checkErr, createErr} {
		if !errors.Is(err, qcow2.ErrExternalData) {
			t.Errorf("%v", err)
		}
	}
}

// TestInfoIsQemus: what is read of a header is what qemu-img reads of it.
func TestInfoIsQemus(t *testing.T) {
	dir := tempDir(t)
	for name, make := range map[string]func(path string){
		"plain": func(path string) { qemuImgCreate(t, path, "20M") },
		"old":   func(path string) { qemuImgCreate(t, "-o", "compat=0.10", path, "3G") },
		"old overlay": func(path string) {
			qemuImgCreate(t, "-o", "compat=0.10", "-u", "-b", "../x/y", "-F", "raw", path, "1M")
		},
		"small":        func(path string) { qemuImgCreate(t, "-o", "cluster_size=512", path, "1G") },
		"subclusters":  func(path string) { qemuImgCreate(t, "-o", "cluster_size=2M,extended_l2=on", path, "62T") },
		"16k":          func(path string) { qemuImgCreate(t, "-o", "cluster_size=16k,extended_l2=on", path, "4T") },
		"overlay":      func(path string) { qemuImgCreate(t, "-u", "-b", "é b.qcow2", "-F", "qcow2", path, "1G") },
		"zstd":         func(path string) { qemuImgCreate(t, "-o", "compression_type=zstd,lazy_refcounts=on", path, "1G") },
		"preallocated": func(path string) { qemuImgCreate(t, "-o", "preallocation=full", path, "2M") },
		"dirty": func(path string) {
			qemuImgCreate(t, "-o", "lazy_refcounts=on", path, "1M")
			_ = exec.Command("qemu-io", "-f", "qcow2", "-c", "write 0 64k", "-c", "abort", path).Run() // it kills itself
		},
		"corrupt": func(path string) {
			qemuImgCreate(t, path, "1M")
			patch(t, path, 79, uint8(2)) // the second of the incompatible features
		},
		"grown": func(path string) {
			qemuImgCreate(t, "-o", "cluster_size=4k", path, "1M")
			if out, err := exec.Command("qemu-img", "resize", "-q", "-f", "qcow2", path, "100G").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		},
		"encrypted": func(path string) {
			if err := (Tools{}).WithKey(secret(t, oneKey)).Create(testContext(t), ImageSpec{Path: path, SizeBytes: MiB}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		path := filepath.Join(dir, name)
		make(path)
		got, err := (Tools{}).Info(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(qemusInfo(t, path), got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// qemusInfo is what qemu-img says of an image (qcow2.Info in QEMU's qapi/block-core.json).
func qemusInfo(t *testing.T, path string) qcow2.Info {
	t.Helper()
	output, err := exec.Command("qemu-img", "info", "-f", "qcow2", "--output=json", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var raw struct {
		VirtualSize    int64  `json:"virtual-size"`
		ActualSize     int64  `json:"actual-size"`
		ClusterSize    int64  `json:"cluster-size"`
		Backing        string `json:"backing-filename"`
		BackingFormat  string `json:"backing-filename-format"`
		Dirty          bool   `json:"dirty-flag"`
		Encrypted      bool   `json:"encrypted"`
		FormatSpecific struct {
			Data struct {
				ExtendedL2 bool `json:"extended-l2"`
				Corrupt    bool `json:"corrupt"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(output, &raw); err != nil {
		t.Fatal(err)
	}
	return qcow2.Info{
		VirtualBytes: raw.VirtualSize, ActualBytes: raw.ActualSize, ClusterBytes: raw.ClusterSize,
		BackingFile: raw.Backing, BackingFormat: raw.BackingFormat, Dirty: raw.Dirty, Encrypted: raw.Encrypted,
		ExtendedL2: raw.FormatSpecific.Data.ExtendedL2, Corrupt: raw.FormatSpecific.Data.Corrupt,
	}
}

// TestHeaderThatCannotBe: what QEMU would refuse to open is refused without asking it, and more.
func TestHeaderThatCannotBe(t *testing.T) {
	path := filepath.Join(tempDir(t), "a.qcow2")
	for name, c := range map[string]struct {
		at    int64
		bytes []byte
		words string
	}{
		"a feature of the future":       {73, []byte{1}, "unknown here (0x1000000000000)"},
		"tiny clusters":                 {23, []byte{8}, "clusters of 2^8 bytes"},
		"huge clusters":                 {23, []byte{22}, "clusters of 2^22 bytes"},
		"other encryption":              {35, []byte{3}, "method 3"},
		"a size beyond all":             {24, []byte{0x80}, "bytes large"},
		"too few L1 entries":            {26, []byte{1}, "L1 table of"},
		"too many L1 entries":           {36, []byte{1}, "L1 table of"},
		"L1 table within a cluster":     {47, []byte{8}, "L1 table of"},
		"L1 table beyond the end":       {42, []byte{1}, "L1 table of"},
		"refcount table in a cluster":   {55, []byte{8}, "refcount table"},
		"refcount table beyond the end": {50, []byte{1}, "refcount table"},
		"long backing name":             {8, []byte{0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 8, 0}, "backing file is 2048 bytes"},
	} {
		qemuImgCreate(t, path, "20M")
		patch(t, path, c.at, c.bytes)
		_, err := (Tools{}).Info(path)
		if !errors.Is(err, qcow2.ErrNotQcow2) || !strings.Contains(err.Error(), c.words) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		// Of a file that was cut short QEMU takes what is missing for zeroes: all the guest's data would read as such.
		cut := strings.HasSuffix(name, "beyond the end")
		if out, err := exec.Command("qemu-img", "info", "-f", "qcow2", path).CombinedOutput(); (err == nil) != cut {
			t.Errorf("%s: QEMU: %v: %s", name, err, out)
		}
	}
}

func TestAnImageInUse(t *testing.T) {
	ctx := testContext(t)
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), 8*MiB)
	s := startServer(t, ServerOptions{Image: path, Export: "vm-disk0"})
	if _, err := nbd.Probe(ctx, s.addr, "vm-disk0"); err != nil {
		t.Fatal(err)
	}
	if info, err := (Tools{}).Info(path); err != nil || info.VirtualBytes != 8*MiB {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := (Tools{}).Check(ctx, path); !errors.Is(err, ErrImageInUse) {
		t.Errorf("check: %v", err)
	}
	if _, err := (Tools{}).RepairLeaks(ctx, path); !errors.Is(err, ErrImageInUse) {
		t.Errorf("repair: %v", err)
	}
}
