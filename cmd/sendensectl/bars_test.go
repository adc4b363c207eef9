package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/rpc"
)

// openTerminal makes a terminal of a width; read returns what was written to it once it is closed.
func openTerminal(t *testing.T, columns uint16) (terminal *os.File, read func() string) {
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

// screen is what a terminal shows in the end of what was written to it. It knows what the bars are drawn with: up so many
// lines, erase to the end of the screen, and the next line.
func screen(out string) []string {
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

func TestBarsFitTheTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	for _, columns := range []int{80, 120} {
		terminal, read := openTerminal(t, uint16(columns))
		v := newBars(terminal)
		few, many := barsOf("データベース本番サーバー第一号機\n", 2), barsOf(strings.Repeat("x", 255), 60)
		v.show(few(0.25))
		v.show(many(0.5))
		v.container.Shutdown() // draws a last time what is there
		lines := screen(read())
		out := strings.Join(lines, "\n")
		for _, want := range []string{"disk 0", "disk 1 ", "waiting  40 GiB", "25 %", "2.5 GiB/s  26m40s left", "データベース本番サ…", "0 of 60 disks"} {
			if !strings.Contains(out, want) {
				t.Errorf("%d columns: no %q in %q", columns, want, out)
			}
		}
		if strings.Contains(out, "disk 7") {
			t.Errorf("%d columns: of many disks one that waits has a bar: %q", columns, out)
		}
		for _, line := range lines {
			if width := text.StringWidthWithoutEscSequences(line); width > columns && !strings.Contains(line, ": running") {
				t.Errorf("%d columns: %d cells wide: %q", columns, width, line)
			}
		}
	}
}

// barsOf makes events of a backup of so many disks, of which the first is being copied.
func barsOf(vm string, disks int) func(fraction float64) rpc.Event {
	return func(fraction float64) rpc.Event {
		p := rpc.Progress{Fraction: fraction, BytesPerSecond: 5 << 29, ETASeconds: 1600, TotalBytes: int64(disks) * 40 << 30}
		for i := range disks {
			p.Disks = append(p.Disks, rpc.DiskProgress{DiskID: i, CapacityBytes: 40 << 30})
		}
		p.Disks[0].Clients, p.Disks[0].ReceivedBytes = 10, 10<<30
		return rpc.Event{Kind: rpc.EventProgress, Progress: &p, Backup: &rpc.Backup{BackupID: vm, VMName: vm, State: rpc.Running}}
	}
}

func TestBarsGoWhenTheBackupEnds(t *testing.T) {
	t.Setenv("TERM", "xterm")
	terminal, read := openTerminal(t, 80)
	v := newBars(terminal)
	e := barsOf("a", 2)(0.25)
	v.show(e)
	ended := *e.Backup
	ended.State = rpc.Completed
	v.show(rpc.Event{Kind: rpc.EventState, Backup: &ended})
	v.close()
	if got := strings.Join(screen(read()), "\n"); got != "a: running\na: completed\n" {
		t.Errorf("left on the screen: %q", got)
	}
}
