// Package fileuser does file operations as another user, on one thread of the process.
package fileuser

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Do runs fn with the file-system identity of cred: the files that fn creates
// belong to that user, and fn can do no more than that user, also on an NFS
// server that squashes root. For a nil cred, fn runs as the caller.
//
// Only one thread has that identity. It is locked to a goroutine and ends with
// it, so no identity has to be restored and none can leak.
func Do(cred *syscall.Credential, fn func() error) error {
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
	// The raw calls change this thread only; those of package syscall change all threads.
	if !cred.NoSetGroups {
		if err := setThreadGroups(cred.Groups); err != nil {
			return fmt.Errorf("become user %d: set groups: %w", cred.Uid, err)
		}
	}
	// setfsgid and setfsuid return the previous id and never an error: ask again.
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
