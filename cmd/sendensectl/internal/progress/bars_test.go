package progress

import (
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal/terminaltest"
	"github.com/sendense/backup-agent/rpc"
)

func TestBarsFitTheTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	for _, columns := range []int{80, 120} {
		terminal, read := terminaltest.Open(t, uint16(columns))
		v := NewBars(terminal)
		few, many := barsOf("データベース本番サーバー第一号機\n", 2), barsOf(strings.Repeat("x", 255), 60)
		v.Show(few(0.25))
		v.Show(many(0.5))
		v.container.Shutdown() // draws a last time
		lines := terminaltest.Screen(read())
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

// barsOf makes events of a backup with so many disks. The first disk is being copied.
func barsOf(vm string, disks int) func(fraction float64) rpc.Event {
	return func(fraction float64) rpc.Event {
		p := rpc.Progress{Fraction: fraction, BytesPerSecond: 5 << 29, ETASeconds: 1600, TotalBytes: int64(disks) * 40 << 30}
		for i := range disks {
			p.Disks = append(p.Disks, rpc.DiskProgress{DiskID: i, CapacityBytes: 40 << 30})
		}
		p.Disks[0].Clients, p.Disks[0].ReceivedBytes, p.Disks[0].ExpectedBytes = 10, 10<<30, 40<<30
		return rpc.Event{Kind: rpc.EventProgress, Progress: &p, Backup: &rpc.Backup{BackupID: vm, VMName: vm, State: rpc.Running}}
	}
}

func TestBarsGoWhenTheBackupEnds(t *testing.T) {
	t.Setenv("TERM", "xterm")
	terminal, read := terminaltest.Open(t, 80)
	v := NewBars(terminal)
	e := barsOf("a", 2)(0.25)
	v.Show(e)
	ended := *e.Backup
	ended.State = rpc.Completed
	v.Show(rpc.Event{Kind: rpc.EventState, Backup: &ended})
	v.Close()
	if got := strings.Join(terminaltest.Screen(read()), "\n"); got != "a: running\na: completed\n" {
		t.Errorf("left on the screen: %q", got)
	}
}
