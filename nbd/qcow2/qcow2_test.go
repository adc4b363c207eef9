package qcow2

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

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

// FuzzExtent: whatever stands in header and refcounts, it is read in bounds, and in no time.
func FuzzExtent(f *testing.F) {
	image := filepath.Join(f.TempDir(), "x.qcow2")
	for _, options := range []string{"cluster_size=512", "cluster_size=512,refcount_bits=1", "compat=0.10,cluster_size=512"} {
		if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, image, "1M").CombinedOutput(); err != nil {
			f.Fatalf("%v: %s", err, out)
		}
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
