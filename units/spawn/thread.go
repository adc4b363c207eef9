package spawn

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// firstFD is the first descriptor after the standard ones.
const firstFD = 3

// onThread runs a function on a thread that ends with it. The main thread cannot end, and /proc/self shows its table of descriptors: if
// the scheduler gives the main thread, it waits here until another has done the work.
func onThread(work func() error, done chan<- error) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			other := make(chan error, 1)
			onThread(work, other)
			err := <-other
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- work() // without UnlockOSThread the runtime ends the thread
	}()
}

// low is the number of descriptors that a thread's own table has in common with the process's. The kernel copies that many anyway: its
// tables have a multiple of the bits of a word (fs/file.c: sane_fdtable_size). What is copied and then closed would be told to its file
// system.
const low = 64

// reserved is whether Reserve has succeeded.
var reserved atomic.Bool

// Reserve prepares the process: it starts the poller of the Go runtime, which then has low descriptors, and opens all others below 64,
// so that no file gets one. A thread keeps those 64, and none of them belongs to a file system that can hang. It must have the poller:
// the runtime uses it on every thread, and ends the process if it is not there. Without Reserve programs are started as os/exec starts
// them.
//
// A daemon calls it before it opens a file. It needs up to 61 descriptors, for as long as the process lives.
func Reserve() error {
	if err := Supported(); err != nil {
		return err
	}
	if err := startPoller(); err != nil {
		return fmt.Errorf("reserve descriptors: %w", err)
	}
	// Package os makes a process that ends at once, when it first uses a pidfd. Its end would wait too.
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return fmt.Errorf("reserve descriptors: %w", err)
	}
	_ = self.Release()
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	for err == nil && null < low {
		null, err = unix.FcntlInt(uintptr(null), unix.F_DUPFD_CLOEXEC, firstFD)
	}
	if err != nil {
		return fmt.Errorf("reserve descriptors: %w", err)
	}
	for fd := firstFD; fd < low; fd++ { // also those that the process has inherited
		unix.CloseOnExec(fd)
	}
	reserved.Store(true)
	return unix.Close(null)
}

// startPoller makes the runtime open its poller's descriptors, and checks that they are low.
func startPoller() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	_, _ = read.Close(), write.Close()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, fd := range fds {
		number, err := strconv.Atoi(fd.Name())
		if err != nil || number < low {
			continue
		}
		if what, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(what, "anon_inode:[event") {
			return fmt.Errorf("too late: descriptor %d is %s", number, what)
		}
	}
	return nil
}

// Supported returns why threads cannot have descriptors of their own here: the kernel (before 5.9), or this process's filter of system
// calls. Nil if they can. Without it programs are started as os/exec starts them.
var Supported = sync.OnceValue(func() error {
	// This changes nothing: there is no such descriptor.
	if err := unix.CloseRange(math.MaxInt32, math.MaxInt32, 0); err != nil {
		return fmt.Errorf("close_range: %w", err)
	}
	self, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(self) //nolint:errcheck // nothing was written
	copied, err := unix.PidfdGetfd(self, self, 0)
	if err != nil {
		return fmt.Errorf("pidfd_getfd: %w", err)
	}
	return unix.Close(copied)
})

// isolate gives the calling thread a table of descriptors of its own, with the low ones and copies of the given ones, whose numbers it
// returns. The copies are closed at exec.
func isolate(fds []int) ([]int, error) {
	if !reserved.Load() {
		return fds, nil
	}
	if err := unix.CloseRange(low, math.MaxUint32, unix.CLOSE_RANGE_UNSHARE); err != nil {
		return nil, fmt.Errorf("close_range: %w", err)
	}
	self, err := unix.PidfdOpen(unix.Getpid(), 0) // of the process: the main thread, which has the process's table
	if err != nil {
		return nil, fmt.Errorf("pidfd_open: %w", err)
	}
	own := make([]int, len(fds))
	for i, fd := range fds {
		if own[i], err = unix.PidfdGetfd(self, fd, 0); err != nil {
			return nil, fmt.Errorf("pidfd_getfd: %w", err)
		}
	}
	return own, nil
}

// duplicate returns new descriptors of files. Like os/exec, it makes the files blocking: programs expect it of pipes.
func duplicate(files []*os.File) (fds []int, err error) {
	for _, f := range files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, firstFD)
		if err != nil {
			closeAll(fds)
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		runtime.KeepAlive(f)
		fds = append(fds, fd)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
