// Package terminaltest makes terminals for tests, and shows what is on their screens. Only tests import it.
package terminaltest

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Open makes a terminal of a width; read closes it and returns what was written to it.
func Open(t *testing.T, columns uint16) (terminal *os.File, read func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	if terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			out.Write(buf[:n])
			if err != nil { // EIO, once the terminal is closed
				return
			}
		}
	}()
	return terminal, func() string {
		terminal.Close()
		<-done
		master.Close()
		return out.String()
	}
}

var drawing = regexp.MustCompile(`\x1b\[(\d+)A|\x1b\[J|\r\n|[^\x1b]`)

// Screen is what a terminal finally shows of the text written to it. It knows the sequences that draw the bars: move up lines,
// erase to the end of the screen, new line.
func Screen(out string) []string {
	lines, row := []string{""}, 0
	for _, m := range drawing.FindAllStringSubmatch(strings.ReplaceAll(out, "\r\r\n", "\r\n"), -1) {
		switch {
		case m[1] != "":
			up, _ := strconv.Atoi(m[1])
			row -= up
		case m[0] == "\x1b[J":
			lines = append(lines[:row], "")
		case m[0] == "\r\n":
			if row++; row == len(lines) {
				lines = append(lines, "")
			}
		case m[0] != "\r":
			lines[row] += m[0]
		}
	}
	return lines
}

// Echoes reports whether a terminal shows what is typed.
func Echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	modes, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return modes.Lflag&unix.ECHO != 0
}
