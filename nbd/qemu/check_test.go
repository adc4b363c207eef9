package qemu

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// refcount sets the refcount of a cluster in an image that has one refcount
// block (QEMU docs/interop/qcow2.txt).
func refcount(t *testing.T, path string, cluster int64, value uint16) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	at := int64(48) // header: refcount_table_offset
	for range 2 {   // to the table, to its first block
		var offset [8]byte
		if _, err := file.ReadAt(offset[:], at); err != nil {
			t.Fatal(err)
		}
		at = int64(binary.BigEndian.Uint64(offset[:]))
	}
	if _, err := file.WriteAt(binary.BigEndian.AppendUint16(nil, value), at+2*cluster); err != nil {
		t.Fatal(err)
	}
}

// written is an image of 64 KiB clusters, 16 of them in use.
func written(t *testing.T) string {
	t.Helper()
	path := filepath.Join(tempDir(t), "a.qcow2")
	if err := (Tools{}).Create(testContext(t), ImageSpec{Path: path, SizeBytes: 8 * MiB}); err != nil {
		t.Fatal(err)
	}
	qemuIO(t, path, "write 0 1M")
	return path
}

func TestLeaksAreFoundAndRepaired(t *testing.T) {
	ctx, path := testContext(t), written(t)
	if err := os.Truncate(path, 64*(64<<10)); err != nil { // so that the file has a cluster 60
		t.Fatal(err)
	}
	refcount(t, path, 60, 1)
	if result, err := (Tools{}).Check(ctx, path); err != nil || result.Leaks != 1 || result.Corruptions != 0 {
		t.Errorf("leaky: %+v, %v", result, err)
	}
	if result, err := (Tools{}).RepairLeaks(ctx, path); err != nil || result.LeaksFixed != 1 || result.Leaks != 0 {
		t.Errorf("repaired: %+v, %v", result, err)
	}
	if result, err := (Tools{}).Check(ctx, path); err != nil || result.Leaks != 0 || result.AllocatedClusters != 16 {
		t.Errorf("after repair: %+v, %v", result, err)
	}
}

func TestCorruptionIsFound(t *testing.T) {
	ctx, path := testContext(t), written(t)
	refcount(t, path, 6, 0) // in use, and counted as free
	result, err := (Tools{}).Check(ctx, path)
	if !errors.Is(err, ErrCorrupt) || result.Corruptions == 0 {
		t.Errorf("corrupt: %+v, %v", result, err)
	}
	var tool *ToolError
	if !errors.As(err, &tool) || tool.ExitCode != 2 || !strings.Contains(tool.Stderr, "refcount=0") || !strings.Contains(err.Error(), path) {
		t.Errorf("corrupt: %v", err)
	}
	if _, err := (Tools{}).RepairLeaks(ctx, path); err == nil {
		t.Error("corrupt: repairing leaks made it good")
	}
}

func TestCheckVerdictTakesTheWorse(t *testing.T) {
	for _, bad := range []struct {
		result CheckResult
		status int
	}{
		{CheckResult{Corruptions: 1}, 0},
		{CheckResult{Corruptions: 1}, checkLeaks},
		{CheckResult{}, checkLeaks},
		{CheckResult{}, checkCorrupt},
		{CheckResult{Leaks: 1}, 0},
		{CheckResult{CheckErrors: 1}, 0},
	} {
		if err := bad.result.verdict("/a", bad.status, &ToolError{}); err == nil {
			t.Errorf("%+v with status %d passes", bad.result, bad.status)
		}
	}
}

func FuzzParseCheck(f *testing.F) {
	f.Add([]byte(`{"image-end-offset":262144,"total-clusters":16,"check-errors":0,"filename":"x","format":"qcow2"}`), 0)
	f.Add([]byte(`{"leaks":1,"check-errors":0,"format":"qcow2"}`), 3)
	f.Add([]byte(`{"corruptions":2,"check-errors":0,"format":"qcow2"}`), 2)
	f.Add([]byte(`{"corruptions":-2,"check-errors":0,"format":"qcow2"}`), 0)
	f.Fuzz(func(t *testing.T, output []byte, status int) {
		result, err := parseCheck(output)
		if err != nil {
			if result != (CheckResult{}) {
				t.Fatalf("%+v beside %v", result, err)
			}
			return
		}
		if result.Leaks < 0 || result.Corruptions < 0 || result.CheckErrors < 0 {
			t.Fatalf("%+v", result)
		}
		err = result.verdict("/a", status, &ToolError{})
		if err == nil && (result.Corruptions != 0 || result.CheckErrors != 0 || status == checkCorrupt) {
			t.Fatalf("%+v with status %d passes", result, status)
		}
	})
}
