package dbfile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Copy copies the database at path, to try something on the copy or to read it for long. It returns a *LockedError when another
// process has the database open. The lock keeps other processes from writing meanwhile.
func Copy(to, path string) error {
	from, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("database %s: %w", path, err)
	}
	defer from.Close()
	err = unix.Flock(int(from.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return &LockedError{Path: path, Holders: lockHolders(path)}
	}
	if err != nil {
		return fmt.Errorf("database %s: lock: %w", path, err)
	}
	copied, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("database %s: %w", path, err)
	}
	_, err = io.Copy(copied, from)
	if err := errors.Join(err, copied.Close()); err != nil {
		return fmt.Errorf("database %s: copy: %w", path, err)
	}
	return nil
}
