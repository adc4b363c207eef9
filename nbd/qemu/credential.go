package qemu

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// as runs fn with the file-system identity of cred, so that what it creates
// belongs to that user and what that user may not touch stays untouched, also
// on an NFS server that squashes root. A nil cred runs fn as the caller.
//
// The identity is one thread's alone. That thread is never handed back: it ends
// with its goroutine, so there is nothing to restore and nothing to leak.
func as(cred *syscall.Credential, fn func() error) error {
	if cred == nil {
		return fn()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := becomeFileUser(cred); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

func becomeFileUser(cred *syscall.Credential) error {
	// The raw calls change this thread only; those of package syscall change all.
	if !cred.NoSetGroups {
		if err := setThreadGroups(cred.Groups); err != nil {
			return fmt.Errorf("become user %d: set groups: %w", cred.Uid, err)
		}
	}
	// setfsgid and setfsuid answer the former id, never an error: ask again.
	if err := unix.Setfsgid(int(cred.Gid)); err != nil {
		return fmt.Errorf("become group %d: %w", cred.Gid, err)
	}
	if got, _ := unix.SetfsgidRetGid(-1); got != int(cred.Gid) {
		return fmt.Errorf("become group %d: %w: CAP_SETGID is needed", cred.Gid, syscall.EPERM)
	}
	if err := unix.Setfsuid(int(cred.Uid)); err != nil {
		return fmt.Errorf("become user %d: %w", cred.Uid, err)
	}
	if got, _ := unix.SetfsuidRetUid(-1); got != int(cred.Uid) {
		return fmt.Errorf("become user %d: %w: CAP_SETUID is needed", cred.Uid, syscall.EPERM)
	}
	return nil
}

// setThreadGroups sets the supplementary groups of the calling thread.
func setThreadGroups(groups []uint32) error {
	var first unsafe.Pointer
	if len(groups) > 0 {
		first = unsafe.Pointer(&groups[0])
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
