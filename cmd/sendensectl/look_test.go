package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creachadair/jrpc2/handler"

	"github.com/sendense/backup-agent/rpc"
)

// changing is a fake agent with one repository, whose free space is 3 GiB in the first answers and 2 GiB from then on. After
// the last answer done is called.
func changing(t *testing.T, answers int64, done func()) string {
	var n atomic.Int64
	return fakeAgent(t, handler.Map{
		rpc.MethodAgentStatus: handler.New(func(context.Context, rpc.None) rpc.AgentStatus { return rpc.AgentStatus{} }),
		rpc.MethodRepositoryList: handler.New(func(context.Context, rpc.None) rpc.RepositoryList {
			i := n.Add(1)
			if i > answers {
				done()
			}
			free := uint64(3 << 30)
			if i > answers/2 {
				free = 2 << 30
			}
			return rpc.RepositoryList{Repositories: []rpc.Repository{{RepositoryID: "main", FreeBytes: free, TotalBytes: 4 << 30}}}
		}),
	})
}

func watchRepositories(ctx context.Context, socket string, out *bytes.Buffer, args ...string) (code int, stderr string) {
	var errs bytes.Buffer
	args = append([]string{"repository", "list", "--watch", "--interval", "100ms", "--socket", socket}, args...)
	return run(ctx, args, nil, out, &errs), errs.String()
}

// Where lines stay, only what has changed is written.
func TestLookingAgainAppendsWhatChanged(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	code, stderr := watchRepositories(ctx, changing(t, 6, cancel), &out, "-o", "json")
	var free []uint64
	for line := range strings.Lines(out.String()) {
		var list rpc.RepositoryList
		if err := json.Unmarshal([]byte(line), &list); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		free = append(free, list.Repositories[0].FreeBytes)
	}
	if code != exitOK || stderr != "" || fmt.Sprint(free) != fmt.Sprint([]uint64{3 << 30, 2 << 30}) {
		t.Errorf("%d %q %v", code, stderr, free)
	}
	ctx, cancel = context.WithCancel(t.Context())
	out.Reset()
	code, _ = watchRepositories(ctx, changing(t, 6, cancel), &out)
	if text := out.String(); code != exitOK || strings.Count(text, "REPOSITORY") != 2 || strings.Contains(text, "\x1b") || !strings.Contains(text, "3 GiB") || !strings.Contains(text, "2 GiB") {
		t.Errorf("%d %q", code, text)
	}
}

func TestLookingAgainPaintsOver(t *testing.T) {
	t.Setenv("TERM", "xterm")
	terminal, read := openTerminal(t, 60)
	ctx, cancel := context.WithCancel(t.Context())
	code := run(ctx, []string{"repository", "list", "-w", "--interval", "100ms", "--socket", changing(t, 6, cancel)}, nil, terminal, os.Stderr)
	out := read()
	lines := screen(strings.NewReplacer("\x1b[K", "", "\x1b[0m", "", "\x1b[32m", "").Replace(out))
	if code != exitOK || strings.Count(out, "\x1b[4A") < 4 {
		t.Errorf("%d %q", code, out)
	}
	// The frames lie on each other: what is painted over is not erased on this screen, but every line begins anew.
	if len(lines) != 5 || !strings.HasPrefix(lines[0], "sendensectl repository list, every 100ms: ") || !strings.Contains(lines[3], "2 GiB") {
		t.Errorf("%q", lines)
	}
}

// A long answer is cut to what the screen holds, or the next one would not lie on it.
func TestPaintingNeverScrolls(t *testing.T) {
	t.Setenv("TERM", "xterm")
	terminal, read := openTerminal(t, 20)
	r := &repeater{app: &app{stdout: terminal}}
	for range 2 {
		if err := r.paint(strings.Repeat("\x1b[31m日本日本日本日本日本日本\x1b[0m\n", 100)); err != nil {
			t.Fatal(err)
		}
	}
	out := read()
	if got := strings.Count(out, "\n"); got != 2*23 || !strings.Contains(out, "and 78 lines more") {
		t.Errorf("%d lines: %q", got, out)
	}
}

// The agent may be restarted while it is looked at.
func TestLookingAgainFindsTheAgentAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var asked atomic.Int64
	socket := fakeAgent(t, handler.Map{
		rpc.MethodAgentStatus: handler.New(func(ctx context.Context, _ rpc.None) rpc.AgentStatus {
			switch asked.Add(1) {
			case 2:
				time.AfterFunc(time.Millisecond, func() { hangUp(ctx) })
				<-ctx.Done()
			case 6:
				cancel()
			}
			return rpc.AgentStatus{}
		}),
	})
	var out, errs bytes.Buffer
	code := run(ctx, []string{"status", "--watch", "--interval", "100ms", "--socket", socket}, nil, &out, &errs)
	if code != exitOK || strings.Count(errs.String(), "the agent went away") != 1 || strings.Count(out.String(), "active backups") != 1 {
		t.Errorf("%d %q %q", code, out.String(), errs.String())
	}
	if code, _, stderr := ctl(t, socket, "", "status", "-w", "--interval", "1ms"); code != exitUsage || !strings.Contains(stderr, "want 100ms or more") {
		t.Errorf("%d %s", code, stderr)
	}
}
