package iomode

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/nbd/fileuser"
)

// directBlock is the length and alignment of the trial write, in bytes: enough
// for disks with sectors of up to 4 KiB.
const directBlock = 4096

// Detect finds the fastest [Mode] that works for images in dir: it writes a small file there, as the user cred (nil is the caller), and
// reads it back. reason is empty for the fastest mode of all, and otherwise says why that one was not chosen. If dir cannot be written,
// Detect returns an error and Buffered.
//
// The answer is valid for this directory, kernel and user. Detect does not try qemu-nbd: a build without io_uring fails to start and says
// so.
func Detect(dir string, cred *syscall.Credential) (mode Mode, reason string, err error) {
	var direct error
	err = fileuser.Do(cred, func() error {
		removeTrials(dir, time.Now())
		direct = tryFile(dir, unix.O_DIRECT)
		if direct == nil {
			return nil
		}
		return tryFile(dir, 0)
	})
	if err != nil {
		return Buffered, "", fmt.Errorf("directory %s: cannot write a trial file: %w", dir, err)
	}
	if direct != nil {
		if pathErr := (*fs.PathError)(nil); errors.As(direct, &pathErr) {
			direct = pathErr.Err // without the name of the trial file
		}
		return Buffered, fmt.Sprintf("directory %s: O_DIRECT does not work (%v): writes go through the page cache", dir, direct), nil
	}
	if err := tryIOURing(); err != nil {
		// Not aio=native: Linux AIO blocks qemu-nbd's only thread when a write
		// has to allocate, and in a growing image every write does.
		return Mode{Cache: "none", AIO: "threads"}, fmt.Sprintf("io_uring: %v: worker threads are used", err), nil
	}
	return Mode{Cache: "none", AIO: "io_uring"}, "", nil
}

// tryFile writes one aligned block to a new file and reads it back.
func tryFile(dir string, flags int) (err error) {
	file, err := openUnnamed(dir, flags)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	// Anonymous memory is page aligned, as O_DIRECT wants it.
	page, err := unix.Mmap(-1, 0, directBlock, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("map memory: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(page)) }()
	want := bytes.Repeat([]byte{0xa5}, directBlock)
	copy(page, want)
	if _, err := file.WriteAt(page, 0); err != nil {
		return err
	}
	clear(page)
	if _, err := file.ReadAt(page, 0); err != nil {
		return err
	}
	if !bytes.Equal(page, want) {
		return fmt.Errorf("%s: read back other data than was written", dir)
	}
	return nil
}

// trialPrefix begins the name of a trial file that needs one.
const trialPrefix = ".sendense-io-"

// trialAge is far longer than a trial file keeps its name, also if the clock of
// a file server is wrong.
const trialAge = 24 * time.Hour

// removeTrials removes the trial files of processes that were killed before they
// removed them. One that cannot be removed stays: it is 4 KiB and does no harm.
func removeTrials(dir string, now time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // the trial write reports it
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), trialPrefix) || !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > trialAge {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// openUnnamed opens a new file that the kernel removes when it is closed, also if
// this process is killed. On a file system that cannot do that, such as NFS, the
// file has a name for a moment.
func openUnnamed(dir string, flags int) (*os.File, error) {
	if file, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE|flags, 0o600); err == nil {
		return file, nil
	}
	path := filepath.Join(dir, trialPrefix+rand.Text())
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// tryIOURing makes a ring and closes it. That proves nothing for the user that
// qemu-nbd runs as, so the sysctl is read first.
func tryIOURing() error {
	const sysctl = "/proc/sys/kernel/io_uring_disabled" // since Linux 6.6
	if value, err := os.ReadFile(sysctl); err == nil {
		if text := strings.TrimSpace(string(value)); text != "0" {
			return fmt.Errorf("kernel.io_uring_disabled is %s", text)
		}
	}
	var params [120]byte // struct io_uring_params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return fmt.Errorf("the kernel refuses it (%w)", errno)
	}
	return unix.Close(int(fd))
}
