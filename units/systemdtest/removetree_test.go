package systemdtest

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRemoveTreeStopsAtMounts: what is mounted at a directory or below it stays, and so does the directory.
func TestRemoveTreeStopsAtMounts(t *testing.T) {
	for name, at := range map[string]string{"at it": "", "below it": "a b/c"} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			precious, dir := filepath.Join(base, "precious"), filepath.Join(base, "dir")
			target := filepath.Join(dir, at)
			for _, path := range []string{precious, target} {
				if err := os.MkdirAll(path, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(precious, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount(precious, target, "", syscall.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
			unmounted := false
			unmount := func() {
				if !unmounted {
					unmounted = true
					if err := syscall.Unmount(target, unix.MNT_DETACH); err != nil {
						t.Error(err)
					}
				}
			}
			defer unmount()
			if err := removeTree(dir); err == nil || !strings.Contains(err.Error(), target+" is a mount point") {
				t.Errorf("error: %v", err)
			}
			if _, err := os.Stat(filepath.Join(precious, "file")); err != nil {
				t.Error(err)
			}
			unmount()
			if err := removeTree(dir); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("it is left, though nothing is mounted")
			}
		})
	}
}

// TestSweepKnowsItsOwn: a sweep removes only what has a name that a machine gives itself.
func TestSweepKnowsItsOwn(t *testing.T) {
	for name, own := range map[string]bool{
		"systemdtest-0123456789ab": true, "systemdtest-root-4043368992": false, "systemdtest-0123456789a": false,
		"systemdtest-0123456789abc": false, "systemdtest-0123456789AB": false, "systemdtest-": false,
	} {
		if isOwnName(name) != own {
			t.Errorf("%s: %v", name, !own)
		}
	}
}
