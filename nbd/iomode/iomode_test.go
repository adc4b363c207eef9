package iomode

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tempDir is a directory that another user can reach, unlike that of t.TempDir.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nbd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestDetect(t *testing.T) {
	for _, dir := range []string{tempDir(t), "/dev/shm"} {
		mode, reason, err := Detect(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := mode.Validate(); err != nil {
			t.Error(err)
		}
		best := mode == Mode{Cache: "none", AIO: "io_uring"}
		if best != (reason == "") {
			t.Errorf("%s: %s with reason %q", dir, mode, reason)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".sendense-io-*")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// A process that is killed while its trial file has a name leaves the file, and nothing else would remove it.
func TestDetectRemovesOldTrials(t *testing.T) {
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
	if _, _, err := Detect(dir, nil); err != nil {
		t.Fatal(err)
	}
	for path, stays := range map[string]bool{old: false, fresh: true, other: true} {
		if _, err := os.Lstat(path); (err == nil) != stays {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestDetectWithoutODirect(t *testing.T) {
	// procfs supports neither new files nor O_DIRECT.
	mode, _, err := Detect("/proc", nil)
	if err == nil || mode != Buffered || !strings.Contains(err.Error(), "/proc") {
		t.Errorf("%s, %v", mode, err)
	}
	if _, _, err := Detect(filepath.Join(tempDir(t), "missing"), nil); err == nil {
		t.Error("a missing directory is writable")
	}
}

func TestDetectAsAnother(t *testing.T) {
	dir := tempDir(t)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	other := &syscall.Credential{Uid: 65534, Gid: 65534}
	if os.Getuid() != 0 {
		other = &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()), NoSetGroups: true}
	}
	if _, _, err := Detect(dir, other); (err == nil) != (os.Getuid() != 0) {
		t.Errorf("in a directory closed to others: %v", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Detect(dir, other); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mine, err := os.Stat(filepath.Join(dir, "mine"))
	if err != nil {
		t.Fatal(err)
	}
	if mine.Sys().(*syscall.Stat_t).Uid != uint32(os.Getuid()) {
		t.Error("the other user's identity has leaked into this thread")
	}
}

func TestModeValidate(t *testing.T) {
	for _, bad := range []Mode{{}, {"unsafe", "threads"}, {"none", ""}, {"writeback", "native"}, {"writethrough", "threads"}} {
		if bad.Validate() == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	for _, good := range []Mode{Buffered, {"none", "io_uring"}, {"none", "native"}, {"writeback", "io_uring"}} {
		if err := good.Validate(); err != nil {
			t.Error(err)
		}
	}
}
