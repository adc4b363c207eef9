package qcow2

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/nbd/qemu/qemutest"
)

// patch overwrites a part of an image's header.
func patch(t *testing.T, path string, offset int64, value any) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := binary.Append(nil, binary.BigEndian, value)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, offset); err != nil {
		t.Fatal(err)
	}
}

// read is ReadInfo of a path.
func read(path string) (Info, error) {
	file, err := os.Open(path)
	if err != nil {
		return Info{}, err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return Info{}, err
	}
	return ReadInfo(file, stat)
}

// whole is ReadInfo and CheckExtent of a path.
func whole(path string) (Info, error) {
	info, err := read(path)
	if err != nil {
		return info, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return info, err
	}
	return info, CheckExtent(bytes.NewReader(content), int64(len(content)))
}

// TestInfoIsQemus: ReadInfo reads the same from a header as qemu-img.
func TestInfoIsQemus(t *testing.T) {
	dir := t.TempDir()
	for name, make := range map[string]func(path string){
		"plain": func(path string) { qemutest.Create(t, path, "20M") },
		"old":   func(path string) { qemutest.Create(t, "-o", "compat=0.10", path, "3G") },
		"old overlay": func(path string) {
			qemutest.Create(t, "-o", "compat=0.10", "-u", "-b", "../x/y", "-F", "raw", path, "1M")
		},
		"small":        func(path string) { qemutest.Create(t, "-o", "cluster_size=512", path, "1G") },
		"subclusters":  func(path string) { qemutest.Create(t, "-o", "cluster_size=2M,extended_l2=on", path, "62T") },
		"16k":          func(path string) { qemutest.Create(t, "-o", "cluster_size=16k,extended_l2=on", path, "4T") },
		"overlay":      func(path string) { qemutest.Create(t, "-u", "-b", "é b.qcow2", "-F", "qcow2", path, "1G") },
		"zstd":         func(path string) { qemutest.Create(t, "-o", "compression_type=zstd,lazy_refcounts=on", path, "1G") },
		"preallocated": func(path string) { qemutest.Create(t, "-o", "preallocation=full", path, "2M") },
		"dirty": func(path string) {
			qemutest.Create(t, "-o", "lazy_refcounts=on", path, "1M")
			_ = exec.Command("qemu-io", "-f", "qcow2", "-c", "write 0 64k", "-c", "abort", path).Run() // it aborts
		},
		"corrupt": func(path string) {
			qemutest.Create(t, path, "1M")
			patch(t, path, 79, uint8(featureCorrupt))
		},
		"grown": func(path string) {
			qemutest.Create(t, "-o", "cluster_size=4k", path, "1M")
			if out, err := exec.Command("qemu-img", "resize", "-q", "-f", "qcow2", path, "100G").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		},
		"encrypted": func(path string) {
			qemutest.Create(t, "--object", "secret,id=k,data=secret", "-o", "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10", path, "1M")
		},
	} {
		path := filepath.Join(dir, name)
		make(path)
		got, err := read(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(qemusInfo(t, path), got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// qemusInfo returns what qemu-img reports of an image (ImageInfo in QEMU's qapi/block-core.json).
func qemusInfo(t *testing.T, path string) Info {
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
	return Info{
		VirtualBytes: raw.VirtualSize, ActualBytes: raw.ActualSize, ClusterBytes: raw.ClusterSize,
		BackingFile: raw.Backing, BackingFormat: raw.BackingFormat, Dirty: raw.Dirty, Encrypted: raw.Encrypted,
		ExtendedL2: raw.FormatSpecific.Data.ExtendedL2, Corrupt: raw.FormatSpecific.Data.Corrupt,
	}
}

// TestHeaderThatCannotBe: ReadInfo refuses what QEMU refuses to open, and more.
func TestHeaderThatCannotBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.qcow2")
	for name, c := range map[string]struct {
		at    int64
		bytes []byte
		words string
	}{
		"a feature of the future":       {73, []byte{1}, "unknown features (0x1000000000000)"},
		"tiny clusters":                 {23, []byte{8}, "clusters of 2^8 bytes"},
		"huge clusters":                 {23, []byte{22}, "clusters of 2^22 bytes"},
		"other encryption":              {35, []byte{3}, "method 3"},
		"a size beyond all":             {24, []byte{0x80}, "a size of"},
		"too few L1 entries":            {26, []byte{1}, "L1 table of"},
		"too many L1 entries":           {36, []byte{1}, "L1 table of"},
		"L1 table within a cluster":     {47, []byte{8}, "L1 table of"},
		"L1 table beyond the end":       {42, []byte{1}, "L1 table of"},
		"refcount table in a cluster":   {55, []byte{8}, "refcount table"},
		"refcount table beyond the end": {50, []byte{1}, "refcount table"},
		"long backing name":             {8, []byte{0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 8, 0}, "backing file has 2048 bytes"},
	} {
		qemutest.Create(t, path, "20M")
		patch(t, path, c.at, c.bytes)
		_, err := read(path)
		if !errors.Is(err, ErrNotQcow2) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", name, err)
		}
		// QEMU reads zeroes beyond the end of a truncated file: all the guest's data would read as zeroes.
		cut := strings.HasSuffix(name, "beyond the end")
		if out, err := exec.Command("qemu-img", "info", "-f", "qcow2", path).CombinedOutput(); (err == nil) != cut {
			t.Errorf("%s: QEMU: %v: %s", name, err, out)
		}
	}
}

// writtenAs makes an image of 16 MiB with these options and with data at its beginning and at its end.
func writtenAs(t *testing.T, options string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.qcow2")
	qemutest.Create(t, "-o", options, path, "16M")
	out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 3M", "-c", "write -P 9 15M 64k", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "rror") {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// endOf returns where the last cluster in use ends, according to qemu-img.
func endOf(t *testing.T, path string) int64 {
	t.Helper()
	out, err := exec.Command("qemu-img", "check", "-f", "qcow2", "--output", "json", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var check struct {
		End int64 `json:"image-end-offset"`
	}
	if err := json.Unmarshal(out, &check); err != nil {
		t.Fatal(err)
	}
	return check.End
}

// TestExtent: for all sizes of clusters and refcounts, an image is whole unless a cluster in use begins behind its end.
func TestExtent(t *testing.T) {
	for _, options := range []string{
		"cluster_size=64k", "cluster_size=64k,extended_l2=on", "cluster_size=512", "cluster_size=4k", "cluster_size=2M", "compat=0.10",
		"refcount_bits=1", "refcount_bits=2", "refcount_bits=4", "refcount_bits=8", "refcount_bits=32", "refcount_bits=64",
		"cluster_size=4k,refcount_bits=1", "cluster_size=512,refcount_bits=64",
	} {
		t.Run(options, func(t *testing.T) {
			path := writtenAs(t, options)
			info, err := whole(path)
			if err != nil {
				t.Fatal(err)
			}
			end, cluster := endOf(t, path), info.ClusterBytes
			for _, size := range []int64{
				end + cluster, end, end - 1, end - cluster + 1, end - cluster, end - cluster - 1, end - 2*cluster, end - 5*cluster,
				end / 2, end / 3, end / 4, // without the tables at the end: never whole
			} {
				if err := os.Truncate(path, size); err != nil {
					t.Fatal(err)
				}
				_, err := whole(path)
				cut := size <= end-cluster || size < end && cluster == 512 // there the last cluster is a block of refcounts, which is always written completely
				if short := errors.Is(err, ErrCutShort) || errors.Is(err, ErrNotQcow2); short != cut {
					t.Errorf("%d of %d bytes, clusters of %d: %v", size, end, cluster, err)
				}
			}
		})
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(append([]byte("QFI\xfb\x00\x00\x00\x03"), make([]byte, 96)...))
	f.Add(append([]byte("QFI\xfb\x00\x00\x00\x02"), make([]byte, 64)...))
	f.Fuzz(func(t *testing.T, header []byte) {
		info, err := parseHeader(bytes.NewReader(header), int64(len(header)))
		if err == nil && (!bytes.HasPrefix(header, []byte("QFI\xfb\x00\x00\x00")) || info.VirtualBytes < 0 || info.ClusterBytes < 512) {
			t.Fatalf("%q is an image: %+v", header, info)
		}
		if err != nil && info != (Info{}) {
			t.Fatalf("%+v beside %v", info, err)
		}
	})
}

// FuzzExtent: any header and any refcounts are read within bounds, and quickly.
func FuzzExtent(f *testing.F) {
	image := filepath.Join(f.TempDir(), "x.qcow2")
	for _, options := range []string{"cluster_size=512", "cluster_size=512,refcount_bits=1", "compat=0.10,cluster_size=512"} {
		qemutest.Create(f, "-o", options, image, "1M")
		content, err := os.ReadFile(image)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content, int64(len(content)))
		f.Add(content[:len(content)/2], int64(len(content)))
	}
	f.Fuzz(func(t *testing.T, content []byte, length int64) {
		if length < 0 {
			return
		}
		_ = CheckExtent(bytes.NewReader(content), length)
	})
}
