package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnwritable: a commit that the system refuses is an error of its own kind, with the system's words; what was refused is said until
// one succeeds.
func TestUnwritable(t *testing.T) {
	s := openNew(t)
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	must(t, err)
	defer full.Close()
	fd := descriptorOf(t, s.file.Path())
	kept, err := unix.Dup(fd)
	must(t, err)
	must(t, unix.Dup3(int(full.Fd()), fd, unix.O_CLOEXEC)) // the file beneath bbolt is another one now
	_, err = s.PutVM(vmOf("a", 1))
	var refused *UnwritableError
	if !errors.As(err, &refused) || !errors.Is(err, unix.ENOSPC) || refused.Directory() != filepath.Dir(s.file.Path()) || refused.Free <= 0 {
		t.Errorf("%v: %+v", err, refused)
	}
	if err := s.Writable(); !errors.As(err, &refused) || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("it says that it can be written: %v", err)
	}
	must(t, unix.Dup3(kept, fd, unix.O_CLOEXEC))
	must(t, unix.Close(kept))
	_, err = s.PutVM(vmOf("a", 1))
	must(t, err)
	must(t, s.Writable())
	must(t, s.Check(t.Context()))
}

// descriptorOf is this process's open file of that path.
func descriptorOf(t *testing.T, path string) int {
	t.Helper()
	for fd := range 1024 {
		if name, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd)); err == nil && name == path {
			return fd
		}
	}
	t.Fatalf("%s is not open", path)
	return -1
}

// TestSetAsideIsListed: what is kept beside the database is found, and nothing else.
func TestSetAsideIsListed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent[1].db")
	for _, name := range []string{"agent[1].db.damaged-20260101T000000Z", "agent[1].db.damaged-20260101T000000Z-2", "agent[1].db", "agent1.db.damaged-x", "other"} {
		must(t, os.WriteFile(filepath.Join(filepath.Dir(path), name), nil, 0o600))
	}
	list, err := SetAside(path)
	if err != nil || len(list) != 2 || list[0] != path+".damaged-20260101T000000Z" {
		t.Errorf("%q, %v", list, err)
	}
}
