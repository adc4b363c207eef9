package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func mkdir(t testing.TB, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestDetectIO(t *testing.T) {
	for _, dir := range []string{tempDir(t), "/dev/shm"} {
		mode, reason, err := DetectIO(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := mode.Validate(); err != nil {
			t.Error(err)
		}
		best := mode == IOMode{Cache: "none", AIO: "io_uring"}
		if best != (reason == "") {
			t.Errorf("%s: %s with reason %q", dir, mode, reason)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".sendense-io-*")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// A process that is killed while its trial file has a name leaves the file, and nothing else would remove it.
func TestDetectIORemovesOldTrials(t *testing.T) {
	dir := tempDir(t)
	old, fresh, other := filepath.Join(dir, trialPrefix+"1-1"), filepath.Join(dir, trialPrefix+"2-2"), filepath.Join(dir, "a.qcow2")
	for _, path := range []string{old, fresh, other} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{old, other} {
		then := time.Now().Add(-trialAge - time.Hour)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := DetectIO(dir); err != nil {
		t.Fatal(err)
	}
	for path, stays := range map[string]bool{old: false, fresh: true, other: true} {
		if _, err := os.Lstat(path); (err == nil) != stays {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestDetectIOWithoutODirect(t *testing.T) {
	// procfs supports neither new files nor O_DIRECT.
	mode, _, err := DetectIO("/proc")
	if err == nil || mode != BufferedIO || !strings.Contains(err.Error(), "/proc") {
		t.Errorf("%s, %v", mode, err)
	}
	if _, _, err := DetectIO(filepath.Join(tempDir(t), "missing")); err == nil {
		t.Error("a missing directory is writable")
	}
}

func TestDetectIOAsAnother(t *testing.T) {
	dir := tempDir(t)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	tools := Tools{Credential: otherUser()}
	if _, _, err := tools.DetectIO(dir); (err == nil) != (os.Getuid() != 0) {
		t.Errorf("in a directory closed to others: %v", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tools.DetectIO(dir); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if owner(t, filepath.Join(dir, "mine")) != uint32(os.Getuid()) {
		t.Error("the other user's identity has leaked into this thread")
	}
}

func TestIOModeValidate(t *testing.T) {
	for _, bad := range []IOMode{{}, {"unsafe", "threads"}, {"none", ""}, {"writeback", "native"}, {"writethrough", "threads"}} {
		if bad.Validate() == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	for _, good := range []IOMode{BufferedIO, {"none", "io_uring"}, {"none", "native"}, {"writeback", "io_uring"}} {
		if err := good.Validate(); err != nil {
			t.Error(err)
		}
	}
}
