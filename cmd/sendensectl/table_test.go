package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/sendense/backup-agent/rpc"
)

// On a narrow terminal the id of a backup, which is to be copied, and its state stay whole.
func TestNarrowTableOfBackups(t *testing.T) {
	id := "backup-" + strings.Repeat("x", 40) + "-1795646217"
	list := []rpc.Backup{{
		BackupID: id, VMName: strings.Repeat("日本", 60), State: rpc.Unresolved, BackupType: rpc.Incremental, RepositoryID: "main", CreatedAt: time.Now(), EndedAt: time.Now(),
	}}
	for width, titles := range map[int]string{
		80:  "BACKUP STATE",
		100: "BACKUP STATE STARTED",
		0:   "BACKUP STATE TYPE VM STARTED TOOK RECEIVED SIZE DISKS REPOSITORY VERIFIED",
	} {
		p := &printer{width: width}
		printBackups(p, list, time.Now())
		lines := strings.Split(p.text(), "\n")
		if got := strings.Join(strings.Fields(lines[0]), " "); got != titles {
			t.Errorf("%d columns: %s, want %s", width, got, titles)
		}
		if !strings.Contains(lines[1], id+"  unresolved") {
			t.Errorf("%d columns: %q", width, lines[1])
		}
		if got := text.StringWidthWithoutEscSequences(lines[1]); width > 0 && got > width {
			t.Errorf("%d cells wide, want %d", got, width)
		}
	}
}

func TestWidthAndColour(t *testing.T) {
	for _, name := range []string{"COLUMNS", "NO_COLOR", "TERM"} {
		t.Setenv(name, "") // what the caller of the test has does not matter
	}
	terminal, read := openTerminal(t, 100)
	defer read()
	for _, tt := range []struct {
		env    map[string]string
		word   string
		file   any
		width  int
		colour bool
	}{
		{map[string]string{}, "auto", terminal, 100, true},
		{map[string]string{"TERM": "dumb"}, "auto", terminal, 100, false},
		{map[string]string{"NO_COLOR": "1"}, "auto", terminal, 100, false},
		{map[string]string{"NO_COLOR": "1"}, "always", terminal, 100, true},
		{map[string]string{"COLUMNS": "66"}, "never", terminal, 66, false},
		{map[string]string{"COLUMNS": "0x1"}, "auto", new(bytes.Buffer), 0, false},
		{map[string]string{"COLUMNS": "66"}, "always", new(bytes.Buffer), 66, true},
	} {
		for name, value := range tt.env {
			os.Setenv(name, value)
		}
		w := tt.file.(interface{ Write([]byte) (int, error) })
		if got, colour := width(w), wantsColour(tt.word, w); got != tt.width || colour != tt.colour {
			t.Errorf("%v --color %s: %d columns, colour %v", tt.env, tt.word, got, colour)
		}
		for name := range tt.env {
			os.Setenv(name, "")
		}
	}
}

func TestMoments(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.Local)
	for s, want := range map[string]time.Time{
		"": {}, "2h": now.Add(-2 * time.Hour), "90m": now.Add(-90 * time.Minute), "7d": now.AddDate(0, 0, -7), "0s": now,
		"2026-11-24": time.Date(2026, 11, 24, 0, 0, 0, 0, time.Local), "2026-11-24 22:30": time.Date(2026, 11, 24, 22, 30, 0, 0, time.Local),
		"2026-11-24T22:30:00Z": time.Date(2026, 11, 24, 22, 30, 0, 0, time.UTC),
	} {
		if got, err := parseMoment(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %s, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"yesterday", "-2h", "7", "2026-13-01", "-1d", "99999999d"} {
		if got, err := parseMoment(s, now); err == nil {
			t.Errorf("%q: %s", s, got)
		}
	}
}

func TestWrap(t *testing.T) {
	const long = "the quick brown fox jumps over the lazy dog and goes on"
	if got := wrap(long, 40, 4); got != "the quick brown fox jumps over the\n    lazy dog and goes on" {
		t.Errorf("%q", got)
	}
	for _, width := range []int{0, 10, 200} {
		if got := wrap(long, width, 4); got != long {
			t.Errorf("%d: %q", width, got)
		}
	}
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{"pg-1.test": "pg-1.test", "": "''", "SQL Server": "'SQL Server'", "it's": `'it'\''s'`, "-x": "'-x'", "$(rm)": "'$(rm)'"} {
		if got := shellWord(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}
