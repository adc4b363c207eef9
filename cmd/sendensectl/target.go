package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A target is where a disk is written: a block device, or a file that gets its name when it is whole.
type target struct {
	path    string   // absolute, as it will be
	device  bool     //
	file    *os.File // the device, held so that nobody mounts it meanwhile
	scratch string   // directory beside the file, in which it is made
	was     was      // what has the file's name, and is replaced
}

// was is what stands in the place of a file.
type was int

const (
	wasNothing was = iota
	wasEmpty
	wasAnything // --force
)

// openTarget looks whether a target may be written to.
func openTarget(ctx context.Context, path, format string, force bool) (*target, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(absolute)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(absolute); err == nil {
			return nil, fmt.Errorf("%s is a link to what is not there: choose another name", path)
		}
		if force {
			return newFile(absolute, wasAnything)
		}
		return newFile(absolute, wasNothing)
	case err != nil:
		return nil, err
	case info.Mode().Type() == fs.ModeDevice: // and no character device
		return openDevice(ctx, absolute, format, force)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: want a file or a block device", path)
	case info.Size() > 0 && !force:
		return nil, fmt.Errorf("%s is there already and not empty: choose another name, or say --force to replace it", path)
	}
	if absolute, err = filepath.EvalSymlinks(absolute); err != nil {
		return nil, err
	}
	if force {
		return newFile(absolute, wasAnything)
	}
	return newFile(absolute, wasEmpty)
}

// newFile makes a directory beside the file. In it the file has the name that it will have, which some formats hold.
func newFile(path string, was was) (*target, error) {
	scratch, err := os.MkdirTemp(filepath.Dir(path), ".sendensectl-disk-")
	if err != nil {
		return nil, err
	}
	return &target{path: path, scratch: scratch, was: was}, nil
}

// fits says whether a disk finds room on a device.
func (t *target) fits(size int64) error {
	if !t.device {
		return nil
	}
	end, err := t.file.Seek(0, io.SeekEnd)
	if err == nil && end < size {
		err = fmt.Errorf("%s has %s, and the disk %s (%d bytes): choose a larger device", t.path, humanSize(end), humanSize(size), size)
	}
	return err
}

// place is where qemu-img writes.
func (t *target) place() string {
	if t.device {
		return t.path
	}
	return filepath.Join(t.scratch, filepath.Base(t.path))
}

// settle brings what was written to the disk and out of the page cache, so that it is read back from where it lies.
func (t *target) settle() error {
	f, err := os.OpenFile(t.place(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return errors.Join(fmt.Errorf("%s cannot be brought to the disk: %w", t.path, err), f.Close())
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // a hint
	return f.Close()
}

// commit gives a file its name, unless something has it by now that was not there to be replaced.
func (t *target) commit() error {
	if t.device {
		return nil
	}
	if err := t.rename(); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(t.path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (t *target) rename() error {
	if t.was == wasEmpty {
		info, err := os.Lstat(t.path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
			return renameNew(t.place(), t.path)
		case err != nil:
			return err
		case !info.Mode().IsRegular() || info.Size() > 0:
			return fmt.Errorf("%s is not empty any more: choose another name, or say --force to replace it", t.path)
		}
	}
	if t.was == wasNothing {
		return renameNew(t.place(), t.path)
	}
	return os.Rename(t.place(), t.path)
}

// close gives back what is held, and removes a file that has not got its name.
func (t *target) close() {
	if t.file != nil {
		_ = t.file.Close()
	}
	if t.scratch != "" {
		_ = os.RemoveAll(t.scratch)
	}
}

// written names for qemu-img what was written. A device may be larger than the disk: what follows is not ours.
func (t *target) written(size int64) (string, error) {
	if !t.device {
		return t.place(), nil
	}
	node, err := json.Marshal(map[string]any{
		"driver": "raw", "size": size, "file": map[string]any{"driver": "host_device", "filename": t.path},
	})
	return "json:" + string(node), err
}
