package terminal

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// HideTyping switches off that the terminal shows what is typed: it would move the lines that are drawn over. The function
// returned switches it on again, and must be called however the drawing ends.
func HideTyping(w io.Writer) (restore func()) {
	f, ok := w.(*os.File)
	if !ok || !setEcho(f, false) {
		return func() {}
	}
	return func() { setEcho(f, true) }
}

// setEcho says whether it changed anything. A terminal in which others are in the foreground is theirs: touching it from
// the background stops the process (SIGTTOU).
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
