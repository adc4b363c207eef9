package terminal

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// HideTyping switches off the echo of the terminal: typed text would move the lines that are redrawn. The returned function
// switches it on again. It must be called in every case.
func HideTyping(w io.Writer) (restore func()) {
	f, ok := w.(*os.File)
	if !ok || !setEcho(f, false) {
		return func() {}
	}
	return func() { setEcho(f, true) }
}

// setEcho reports whether it changed anything. It does nothing if this process is in the background: changing the terminal would
// stop it (SIGTTOU).
func setEcho(f *os.File, on bool) bool {
	fd := int(f.Fd())
	if group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err == nil && group != unix.Getpgrp() {
		return false
	}
	modes, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil || on == (modes.Lflag&unix.ECHO != 0) {
		return false
	}
	modes.Lflag ^= unix.ECHO
	return unix.IoctlSetTermios(fd, unix.TCSETS, modes) == nil
}
