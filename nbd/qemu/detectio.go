package qemu

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// directBlock is the length and alignment of the trial write: enough for every
// disk with sectors of up to 4 KiB.
const directBlock = 4096

// DetectIO finds the fastest [IOMode] that really works for images in dir, by
// writing and reading back a small file there. reason is empty for the best one
// and otherwise says for people why another was taken. err means that dir
// cannot be written at all; the mode is then BufferedIO.
//
// The answer holds for this directory, kernel and user. It does not try
// qemu-nbd: a build without io_uring fails to start and says so.
func DetectIO(dir string) (mode IOMode, reason string, err error) {
	return Tools{}.DetectIO(dir)
}

// DetectIO is like the function DetectIO, with the trial file made as
// t.Credential.
func (t Tools) DetectIO(dir string) (mode IOMode, reason string, err error) {
	var direct error
	err = as(t.Credential, func() error {
		removeTrials(dir, time.Now())
		direct = tryFile(dir, unix.O_DIRECT)
		if direct == nil {
			return nil
		}
		return tryFile(dir, 0)
	})
	if err != nil {
		return BufferedIO, "", fmt.Errorf("directory %s: cannot write a trial file: %w", dir, err)
	}
	if direct != nil {
		if pathErr := (*fs.PathError)(nil); errors.As(direct, &pathErr) {
			direct = pathErr.Err // the name of the trial file helps nobody
		}
		return BufferedIO, fmt.Sprintf("directory %s: no O_DIRECT here (%v): writes go through the page cache", dir, direct), nil
	}
	if err := tryIOURing(); err != nil {
		// Not aio=native: Linux AIO blocks qemu-nbd's only thread whenever a
		// write has to allocate, and in a growing image every write does.
		return IOMode{Cache: "none", AIO: "threads"}, fmt.Sprintf("io_uring: %v: worker threads are used", err), nil
	}
	return IOMode{Cache: "none", AIO: "io_uring"}, "", nil
}

// tryFile writes one aligned block to a new file and reads it back.
func tryFile(dir string, flags int) (err error) {
	file, err := nameless(dir, flags)
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
		return fmt.Errorf("%s: read back something else than was written", dir)
	}
	return nil
}

// trialPrefix begins the name of a trial file that needs one.
const trialPrefix = ".sendense-io-"

// trialAge is longer than a trial file has its name, whatever the clock of a
// file server says.
const trialAge = 24 * time.Hour

// removeTrials removes the trial files of processes that were killed in that
// moment. What cannot be removed stays: it is 4 KiB, and in nobody's way.
func removeTrials(dir string, now time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // the trial tells
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

// nameless opens a new file that is gone when it is closed, whatever becomes of
// this process. Where the file system cannot make one, as NFS, it has a name for
// a moment.
func nameless(dir string, flags int) (*os.File, error) {
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

// tryIOURing makes a ring and throws it away. A ring that this process may make
// is no proof for the user that qemu-nbd runs as, so the sysctl counts first.
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
