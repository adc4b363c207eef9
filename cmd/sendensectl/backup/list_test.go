package backup

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/creachadair/jrpc2/handler"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

func TestListsAsTableAndJSON(t *testing.T) {
	page := rpc.BackupPage{NextCursor: "next", Backups: []rpc.Backup{{
		BackupID: "backup-a-1", VMName: "böse\n\u202e" + strings.Repeat("x", 300), BackupType: rpc.Full, RepositoryID: "main", State: rpc.Completed,
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), BytesTransferred: 3 << 29,
	}}}
	socket := commandtest.FakeAgent(t, handler.Map{
		rpc.MethodBackupList: handler.New(func(_ context.Context, q rpc.BackupQuery) (rpc.BackupPage, error) {
			if !reflect.DeepEqual(q, rpc.BackupQuery{VMName: "a", State: rpc.Completed, Limit: 1, Cursor: "c", Tags: map[string]string{"tier": "gold", "nightly": ""}, Damaged: true}) {
				return rpc.BackupPage{}, errors.New("other query")
			}
			return page, nil
		}),
	})
	args := []string{"backup", "list", "--vm", "a", "--state", "completed", "--limit", "1", "--cursor", "c", "--tag", "tier=gold", "--tag", "nightly", "--damaged"}
	code, stdout, stderr := ctl(t, socket, "", args...)
	if code != exit.OK || !strings.Contains(stdout, `böse\n\u202exxx`) || !strings.Contains(stdout, "1.5 GiB") || strings.Count(stdout, "\n") != 2 {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	if !strings.Contains(stderr, "--cursor next") {
		t.Errorf("the next page is not told of: %q", stderr)
	}
	_, stdout, _ = ctl(t, socket, "", append(args, "-o", "json")...)
	var got rpc.BackupPage
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.Backups[0].VMName != page.Backups[0].VMName || !strings.Contains(stdout, "\n  \"backups\"") {
		t.Errorf("%v: %s", err, stdout)
	}
}

// TestNarrowTableOfBackups: on a narrow terminal, the id of a backup, which users copy, and its state are not cut.
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
		p := &output.Printer{Width: width}
		printBackups(p, list, time.Now())
		lines := strings.Split(p.Text(), "\n")
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

func TestMoments(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.Local)
	for s, want := range map[string]time.Time{
		"": {}, "2h": now.Add(-2 * time.Hour), "90m": now.Add(-90 * time.Minute), "7d": now.AddDate(0, 0, -7), "0s": now,
		"2026-11-24": time.Date(2026, 11, 24, 0, 0, 0, 0, time.Local), "2026-11-24 22:30": time.Date(2026, 11, 24, 22, 30, 0, 0, time.Local),
		"2026-11-24T22:30:00Z": time.Date(2026, 11, 24, 22, 30, 0, 0, time.UTC),
	} {
		if got, err := command.ParseMoment(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %s, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"yesterday", "-2h", "7", "2026-13-01", "-1d", "99999999d"} {
		if got, err := command.ParseMoment(s, now); err == nil {
			t.Errorf("%q: %s", s, got)
		}
	}
}
