package systemdtest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBaseBelowTmp: the files of a machine may be below the directory where its tree is built, and the machine changes none of them. The
// mounts are in a namespace of one thread, which ends with it. The base holds a plain file and no mount.
func TestBaseBelowTmp(t *testing.T) {
	base, err := os.MkdirTemp(workDir, "systemdtest-base-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(base); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(base, "name")
	if err := os.WriteFile(file, []byte("base"), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- changeFileOf(base)
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "base" {
		t.Errorf("the base has changed: %q, %v", got, err)
	}
	// Not /proc/self: that is the first thread, which may have been the one with the mounts.
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if point, found := mountBelow(string(mounts), filepath.Join(workDir, "root")); found || err != nil {
		t.Errorf("%s is mounted outside of the namespace, %v", point, err)
	}
}

// changeFileOf builds the tree of a base in a mount namespace of the calling thread, and reads and changes the file in it.
func changeFileOf(base string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	root, err := layBase(base)
	if err != nil {
		return err
	}
	file := filepath.Join(root, "name")
	if got, err := os.ReadFile(file); err != nil || string(got) != "base" {
		return fmt.Errorf("the machine reads %q, %v", got, err)
	}
	return os.WriteFile(file, []byte("changed"), 0o600)
}
