package vcenter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sourceSize is the size of a file or block device, in bytes.
func sourceSize(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }() // only asked for its size
	return file.Seek(0, io.SeekEnd)
}

// lockSources takes an exclusive flock on all sources together, so that no writer with
// a shared lock is in the middle of a write. It holds none while it waits: writers
// may lock in any order.
func lockSources(ctx context.Context, disks []Disk) (unlock func(), err error) {
	const interval = 2 * time.Millisecond // flock(2) itself cannot be cancelled
	files := make(map[string]*os.File)
	unlock = func() {
		for _, file := range files {
			_ = file.Close() // and with it the lock
		}
	}
	for _, disk := range disks {
		if files[disk.Source] != nil {
			continue
		}
		if files[disk.Source], err = os.Open(disk.Source); err != nil {
			delete(files, disk.Source)
			unlock()
			return nil, err
		}
	}
	for {
		err := tryLock(files)
		if errors.Is(err, unix.EWOULDBLOCK) {
			select {
			case <-time.After(interval):
				continue
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		if err != nil {
			unlock()
			return nil, fmt.Errorf("lock sources: %w", err)
		}
		return unlock, nil
	}
}

// tryLock locks all files or none.
func tryLock(files map[string]*os.File) error {
	for _, file := range files {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			continue
		}
		for _, locked := range files {
			_ = unix.Flock(int(locked.Fd()), unix.LOCK_UN) // it is no error if there was no lock
		}
		return err
	}
	return nil
}

// copySource makes a nameless copy of a disk's source, as long as its capacity;
// or opens the source itself when it is read in place.
func (v *VCenter) copySource(disk Disk) (*os.File, error) {
	source, err := os.Open(disk.Source)
	if err != nil || v.options.ReadInPlace {
		return source, err
	}
	defer func() { _ = source.Close() }() // only read from
	file, err := os.CreateTemp(v.options.Dir, "sbak-*")
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		os.Remove(file.Name()),
		cloneOrCopy(file, source, disk.CapacityBytes),
		file.Truncate(disk.CapacityBytes),
	)
	if err != nil {
		_ = file.Close() // the error above is reported
		return nil, err
	}
	return file, nil
}

// cloneOrCopy shares the blocks if the file system can do that, else copies the data.
func cloneOrCopy(to, from *os.File, capacity int64) error {
	if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		return nil
	}
	extents, err := dataExtents(from, capacity)
	if err != nil {
		return err
	}
	for _, part := range extents {
		if _, err := from.Seek(part.Offset, io.SeekStart); err != nil {
			return err
		}
		if _, err := to.Seek(part.Offset, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(to, from, part.Length); err != nil {
			return err
		}
	}
	return nil
}
