package systemdtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// diskVar is the variable with a directory on a real disk, for hosts where none is found.
const diskVar = "SYSTEMDTEST_DISK"

// DiskDir makes a directory on a real disk, where O_DIRECT works as it does for images in production
// (the machine's own files are in memory). The path is the same inside and outside the machine. The
// directory is removed when the test ends, also if the test is killed. All users can enter it; it belongs
// to the user of the test.
func DiskDir(t testing.TB) string {
	t.Helper()
	m, err := readMarker("/")
	if err != nil {
		t.Fatalf("systemdtest: DiskDir works inside a machine only; use systemdtest.Main in TestMain: %v", err)
	}
	dir, err := os.MkdirTemp(m.Scratch, safeName(t.Name())+"-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatalf("systemdtest: directory on disk: %v", err)
	}
	t.Cleanup(func() {
		if err := removeTree(dir); err != nil {
			t.Errorf("systemdtest: remove the directory on disk: %v", err)
		}
	})
	return dir
}

func safeName(name string) string {
	if len(name) > 40 {
		name = name[:40]
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
}

// scratchBases returns the directories for scratch directories, best first.
func scratchBases() []string {
	var bases []string
	if dir := os.Getenv(diskVar); dir != "" {
		bases = append(bases, dir)
	}
	bases = append(bases, "/var/tmp", "/var/lib")
	if cache, err := os.UserCacheDir(); err == nil {
		bases = append(bases, cache)
	}
	return append(bases, os.TempDir())
}

// scratchBase returns the first of them that is on a file system with O_DIRECT.
func scratchBase() (string, error) {
	for _, base := range scratchBases() {
		if err := os.MkdirAll(base, 0o755); err == nil && onDisk(base) {
			return base, nil
		}
	}
	return "", fmt.Errorf("no directory on a real disk among %s: set %s to one", strings.Join(scratchBases(), ", "), diskVar)
}

func onDisk(dir string) bool {
	var fs unix.Statfs_t
	// Newer kernels accept O_DIRECT on tmpfs, but it has no effect there.
	if unix.Statfs(dir, &fs) != nil || fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		return false
	}
	f, err := os.CreateTemp(dir, namePrefix+"probe-")
	if err != nil {
		return false
	}
	defer os.Remove(f.Name())
	defer f.Close()
	fd, err := unix.Open(filepath.Clean(f.Name()), unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	return unix.Close(fd) == nil
}
