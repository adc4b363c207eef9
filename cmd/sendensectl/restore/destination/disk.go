// Package destination is where restored data is written: a block device or a file for a disk, a name for a copy of files. It refuses what
// holds data or is in use, and gives a file its name when it is whole. It knows nothing of agents.
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

// A Disk is where a disk is written: a block device, or a file that gets its name when it is whole.
type Disk struct {
	Path     string   // absolute, as it will be
	Device   bool     //
	file     *os.File // the device, held so that nobody mounts it meanwhile
	scratch  string   // directory beside the file, in which it is made
	replaces replaced // what has the file's name, and is replaced
}

// replaced is what stands in the place of a file.
type replaced int

const (
	replacesNothing replaced = iota
	replacesEmpty
	replacesAnything // --force
)

// OpenDisk looks whether a target may be written to.
func OpenDisk(ctx context.Context, path, format string, force bool) (*Disk, error) {
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
			return newFile(absolute, replacesAnything)
		}
		return newFile(absolute, replacesNothing)
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
		return newFile(absolute, replacesAnything)
	}
	return newFile(absolute, replacesEmpty)
}

// newFile makes a directory beside the file. In it the file has the name that it will have, which some formats hold.
func newFile(path string, replaces replaced) (*Disk, error) {
	scratch, err := os.MkdirTemp(filepath.Dir(path), ".sendensectl-disk-")
	if err != nil {
		return nil, err
	}
	return &Disk{Path: path, scratch: scratch, replaces: replaces}, nil
}

// Fits says whether a disk finds room on a device.
func (t *Disk) Fits(size int64) error {
	if !t.Device {
		return nil
	}
	end, err := t.file.Seek(0, io.SeekEnd)
	if err == nil && end < size {
		err = fmt.Errorf("%s has %s, and the disk %s (%d bytes): choose a larger device", t.Path, human.Size(end), human.Size(size), size)
	}
	return err
}

// WritePath is where qemu-img writes.
func (t *Disk) WritePath() string {
	if t.Device {
		return t.Path
	}
	return filepath.Join(t.scratch, filepath.Base(t.Path))
}

// Settle brings what was written to the disk and out of the page cache, so that it is read back from where it lies.
func (t *Disk) Settle() error {
	f, err := os.OpenFile(t.WritePath(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return errors.Join(fmt.Errorf("%s cannot be brought to the disk: %w", t.Path, err), f.Close())
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // a hint
	return f.Close()
}

// Commit gives a file its name, unless something has it by now that was not there to be replaced.
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
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
			return renameNew(t.WritePath(), t.Path)
		case err != nil:
			return err
		case !info.Mode().IsRegular() || info.Size() > 0:
			return fmt.Errorf("%s is not empty any more: choose another name, or say --force to replace it", t.Path)
		}
	}
	if t.replaces == replacesNothing {
		return renameNew(t.WritePath(), t.Path)
	}
	return os.Rename(t.WritePath(), t.Path)
}

// Close gives back what is held, and removes a file that has not got its name.
func (t *Disk) Close() {
	if t.file != nil {
		_ = t.file.Close()
	}
	if t.scratch != "" {
		_ = os.RemoveAll(t.scratch)
	}
}

// ReadPath names for qemu-img what was written. A device may be larger than the disk: what follows is not ours.
func (t *Disk) ReadPath(size int64) (string, error) {
	if !t.Device {
		return t.WritePath(), nil
	}
	node, err := json.Marshal(map[string]any{
		"driver": "raw", "size": size, "file": map[string]any{"driver": "host_device", "filename": t.Path},
	})
	return "json:" + string(node), err
}
