package command_test

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

	"github.com/sendense/backup-agent/cmd/sendensectl/daemon"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal/terminaltest"
	"github.com/sendense/backup-agent/cmd/sendensectl/repository"
	"github.com/sendense/backup-agent/rpc"
)

func TestMain(m *testing.M) { commandtest.Main(m) }

// changing is a fake agent with one repository. Its free space is 3 GiB in the first half of the answers, then 2 GiB. After the last
// answer, done is called.
func changing(t *testing.T, answers int64, done func()) string {
	var n atomic.Int64
	return commandtest.FakeAgent(t, handler.Map{
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
	return command.New("", nil, out, &errs).Run(ctx, args, repository.Command), errs.String()
}

// TestPollingAppendsWhatChanged: without a terminal, only changes are written.
func TestPollingAppendsWhatChanged(t *testing.T) {
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
	if code != exit.OK || stderr != "" || fmt.Sprint(free) != fmt.Sprint([]uint64{3 << 30, 2 << 30}) {
		t.Errorf("%d %q %v", code, stderr, free)
	}
	ctx, cancel = context.WithCancel(t.Context())
	out.Reset()
	code, _ = watchRepositories(ctx, changing(t, 6, cancel), &out)
	if text := out.String(); code != exit.OK || strings.Count(text, "REPOSITORY") != 2 || strings.Contains(text, "\x1b") || !strings.Contains(text, "3 GiB") || !strings.Contains(text, "2 GiB") {
		t.Errorf("%d %q", code, text)
	}
}

// TestPollingPaintsOver: a terminal is redrawn, with the echo off.
func TestPollingPaintsOver(t *testing.T) {
	t.Setenv("TERM", "xterm")
	terminal, read := terminaltest.Open(t, 60)
	drawn := false
	ctx, cancel := context.WithCancel(t.Context())
	args := []string{"repository", "list", "-w", "--interval", "100ms", "--socket", changing(t, 6, func() {
		drawn = true
		if terminaltest.Echoes(t, terminal) {
			t.Error("the terminal echoes during the drawing")
		}
		cancel()
	})}
	code := command.New("", nil, terminal, os.Stderr).Run(ctx, args, repository.Command)
	if !drawn || !terminaltest.Echoes(t, terminal) {
		t.Errorf("drawn: %t, echoes afterwards: %t", drawn, terminaltest.Echoes(t, terminal))
	}
	out := read()
	lines := terminaltest.Screen(strings.NewReplacer("\x1b[K", "", "\x1b[0m", "", "\x1b[32m", "").Replace(out))
	if code != exit.OK || strings.Count(out, "\x1b[4A") < 4 {
		t.Errorf("%d %q", code, out)
	}
	// Screen does not erase lines, so the frames overlap; every line begins with the newest one.
	if len(lines) != 5 || !strings.HasPrefix(lines[0], "sendensectl repository list, every 100ms: ") || !strings.Contains(lines[3], "2 GiB") {
		t.Errorf("%q", lines)
	}
}

// TestPollingReconnects: the agent may restart during the polling.
func TestPollingReconnects(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var asked atomic.Int64
	socket := commandtest.FakeAgent(t, handler.Map{
		rpc.MethodAgentStatus: handler.New(func(ctx context.Context, _ rpc.None) rpc.AgentStatus {
			switch asked.Add(1) {
			case 2:
				time.AfterFunc(time.Millisecond, func() { commandtest.HangUp(ctx) })
				<-ctx.Done()
			case 6:
				cancel()
			}
			return rpc.AgentStatus{}
		}),
	})
	var out, errs bytes.Buffer
	a := command.New("", nil, &out, &errs)
	a.ReconnectEvery = 5 * time.Millisecond
	code := a.Run(ctx, []string{"status", "--watch", "--interval", "100ms", "--socket", socket}, daemon.Status)
	if code != exit.OK || strings.Count(errs.String(), "the agent does not answer") != 1 || strings.Count(out.String(), "active backups") != 1 {
		t.Errorf("%d %q %q", code, out.String(), errs.String())
	}
	if code, _, stderr := commandtest.Run(t, []command.Noun{daemon.Status}, socket, "", "status", "-w", "--interval", "1ms"); code != exit.Usage || !strings.Contains(stderr, "want 100ms or more") {
		t.Errorf("%d %s", code, stderr)
	}
}
