package qemu

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/nbd/qcow2"
)

// writtenAs makes an image of 16 MiB, as the options say, that holds something at its beginning and at its end.
func writtenAs(t *testing.T, options string) string {
	t.Helper()
	path := filepath.Join(tempDir(t), "x.qcow2")
	qemuImgCreate(t, "-o", options, path, "16M")
	out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 3M", "-c", "write -P 9 15M 64k", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "rror") {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// endOf is where the last cluster in use ends, as qemu-img has it.
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

// TestWhole: whatever the sizes of clusters and refcounts, an image is whole until a cluster that is in use begins behind its end.
func TestWhole(t *testing.T) {
	for _, options := range []string{
		"cluster_size=64k", "cluster_size=64k,extended_l2=on", "cluster_size=512", "cluster_size=4k", "cluster_size=2M", "compat=0.10",
		"refcount_bits=1", "refcount_bits=2", "refcount_bits=4", "refcount_bits=8", "refcount_bits=32", "refcount_bits=64",
		"cluster_size=4k,refcount_bits=1", "cluster_size=512,refcount_bits=64",
	} {
		t.Run(options, func(t *testing.T) {
			path := writtenAs(t, options)
			info, err := (Tools{}).Whole(path)
			if err != nil {
				t.Fatal(err)
			}
			plain, err := (Tools{}).Info(path)
			if err != nil || info != plain {
				t.Errorf("%+v, and Info says %+v, error %v", info, plain, err)
			}
			end, cluster := endOf(t, path), info.ClusterBytes
			for _, size := range []int64{
				end + cluster, end, end - 1, end - cluster + 1, end - cluster, end - cluster - 1, end - 2*cluster, end - 5*cluster,
				end / 2, end / 3, end / 4, // without the tables in the end: nothing of it is taken for whole
			} {
				if err := os.Truncate(path, size); err != nil {
					t.Fatal(err)
				}
				_, err := (Tools{}).Whole(path)
				cut := size <= end-cluster || size < end && cluster == 512 // where the last one is a block of refcounts, always written whole
				if short := errors.Is(err, qcow2.ErrCutShort) || errors.Is(err, qcow2.ErrNotQcow2); short != cut {
					t.Errorf("%d of %d bytes, clusters of %d: %v", size, end, cluster, err)
				}
				if err != nil && !strings.Contains(err.Error(), path) {
					t.Errorf("%v does not name it", err)
				}
			}
		})
	}
}
