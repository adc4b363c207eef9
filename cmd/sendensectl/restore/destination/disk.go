// Package destination is where restored data is written: a block device or a file for a disk, a new name for copied files. It
// refuses a device that is in use or holds data. It gives a file its name only when the file is complete. It does not know the
// agent.
package destination

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

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
)

// A Disk is the destination of a disk: a block device, or a file that gets its name when it is complete.
type Disk struct {
	Path     string   // absolute; the final name
	Device   bool     //
	file     *os.File // the device, open exclusively so that it cannot be mounted meanwhile
	scratch  string   // directory beside the file; the file is written in it
	replaces replaced // what may be replaced
}

// replaced is what a new file may replace.
type replaced int

const (
	replacesNothing replaced = iota
	replacesEmpty
	replacesAnything // --force
)

// OpenDisk checks that the destination may be written. It changes nothing.
func OpenDisk(ctx context.Context, path, format string, force bool) (*Disk, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(absolute)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(absolute); err == nil {
			return nil, fmt.Errorf("%s is a symbolic link to a missing file: choose another name", path)
		}
		if force {
			return newFile(absolute, replacesAnything)
		}
		return newFile(absolute, replacesNothing)
	case err != nil:
		return nil, err
	case info.Mode().Type() == fs.ModeDevice: // not a character device
		return openDevice(ctx, absolute, format, force)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: want a file or a block device", path)
	case info.Size() > 0 && !force:
		return nil, fmt.Errorf("%s exists and is not empty: choose another name, or use --force to replace it", path)
	}
	if absolute, err = filepath.EvalSymlinks(absolute); err != nil {
		return nil, err
	}
	if force {
		return newFile(absolute, replacesAnything)
	}
	return newFile(absolute, replacesEmpty)
}

// newFile makes a directory beside the file. In it, the file already has its final name: some formats contain the name.
func newFile(path string, replaces replaced) (*Disk, error) {
	scratch, err := os.MkdirTemp(filepath.Dir(path), ".sendensectl-disk-")
	if err != nil {
		return nil, err
	}
	return &Disk{Path: path, scratch: scratch, replaces: replaces}, nil
}

// Fits fails if the disk is larger than the device.
func (t *Disk) Fits(size int64) error {
	if !t.Device {
		return nil
	}
	end, err := t.file.Seek(0, io.SeekEnd)
	if err == nil && end < size {
		err = fmt.Errorf("%s is too small: it has %s, the disk has %s (%d bytes); choose a larger device", t.Path, human.Size(end), human.Size(size), size)
	}
	return err
}

// WritePath is the path that qemu-img writes.
func (t *Disk) WritePath() string {
	if t.Device {
		return t.Path
	}
	return filepath.Join(t.scratch, filepath.Base(t.Path))
}

// Settle syncs the written data and drops it from the page cache, so that it is read back from the disk.
func (t *Disk) Settle() error {
	f, err := os.OpenFile(t.WritePath(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return errors.Join(fmt.Errorf("%s cannot be synced: %w", t.Path, err), f.Close())
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // only a hint to the kernel
	return f.Close()
}

// Commit gives a file its name. It fails if something else took the name meanwhile.
func (t *Disk) Commit() error {
	if t.Device {
		return nil
	}
	if err := t.rename(); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(t.Path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (t *Disk) rename() error {
	if t.replaces == replacesEmpty {
		info, err := os.Lstat(t.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it was removed meanwhile
			return renameNew(t.WritePath(), t.Path)
		case err != nil:
			return err
		case !info.Mode().IsRegular() || info.Size() > 0:
			return fmt.Errorf("%s is no longer empty: choose another name, or use --force to replace it", t.Path)
		}
	}
	if t.replaces == replacesNothing {
		return renameNew(t.WritePath(), t.Path)
	}
	return os.Rename(t.WritePath(), t.Path)
}

// Close closes the device, and removes a file that is not committed.
func (t *Disk) Close() {
	if t.file != nil {
		_ = t.file.Close()
	}
	if t.scratch != "" {
		_ = os.RemoveAll(t.scratch)
	}
}

// ReadPath is the written data for qemu-img. A device may be larger than the disk; the rest is not part of it.
func (t *Disk) ReadPath(size int64) (string, error) {
	if !t.Device {
		return t.WritePath(), nil
	}
	node, err := json.Marshal(map[string]any{
		"driver": "raw", "size": size, "file": map[string]any{"driver": "host_device", "filename": t.Path},
	})
	return "json:" + string(node), err
}
