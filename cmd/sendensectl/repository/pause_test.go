package repository

import (
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// TestPauseSaysWhatRuns: the answer names what is in progress, and the list shows the pause beside an error.
func TestPauseSaysWhatRuns(t *testing.T) {
	pause := &rpc.Pause{Since: time.Now(), Reason: "new disks"}
	commandtest.Says(t, "pause", func(p *output.Printer) {
		printPaused(p, rpc.PauseState{RepositoryID: "main", Paused: pause, Activity: rpc.Activity{Backups: 2, Verifications: 1, Queued: 3}})
	}, "Repository main is paused since ", "new disks", "2 backups, 1 verification, 3 queued", "sendensectl repository show main")
	commandtest.Says(t, "list", func(p *output.Printer) {
		Print(p, []rpc.Repository{{RepositoryID: "main", Paused: pause}, {RepositoryID: "far", Paused: pause, Error: "is not mounted"}})
	}, "paused since ", "new disks", "is not mounted")
}

// TestStateFitsTheTerminal: the table fits 80 columns whatever the errors say. What is wrong is below it, and in the answer to show.
func TestStateFitsTheTerminal(t *testing.T) {
	since := time.Now().Add(-time.Hour)
	list := []rpc.Repository{
		{RepositoryID: "main", State: "ok", FreeBytes: 1 << 40, TotalBytes: 2 << 40, Path: "/srv/backup"},
		{RepositoryID: "far", State: "slow", FreeBytes: 1 << 40, TotalBytes: 2 << 40, Path: "/mnt/far", Paused: &rpc.Pause{Since: since}},
		{RepositoryID: "nas", State: "stuck", StuckSince: since, StuckOperation: "reading the free space", Path: "/mnt/nas", Error: strings.Repeat("long ", 40)},
		{RepositoryID: "old", State: "ok", Path: "/mnt/old", Error: "/mnt/old: " + strings.Repeat("gone ", 40)},
	}
	p := &output.Printer{Width: 80, ProseWidth: 80}
	Print(p, list)
	for line := range strings.Lines(p.Text()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	words := strings.Join(strings.Fields(p.Text()), " ")
	stuck := "stuck since " + human.Time(since) + " (reading the free space)"
	for _, want := range []string{
		"main 1 TiB 2 TiB 50 % ok", "far 1 TiB 2 TiB 50 % slow, paused", "nas - - stuck", "old - - unusable", "Repository far is paused since ",
		"Repository nas is " + stuck + ". Nothing new starts there", "Repository old cannot be used: /mnt/old: gone",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not in:\n%s", want, p.Text())
		}
	}
	if strings.Contains(words, "long") {
		t.Errorf("the error of a stuck repository is repeated:\n%s", p.Text())
	}
	for i, want := range []string{"ok", "slow; paused since ", stuck, "/mnt/old: gone"} {
		if got := state(list[i]); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
