package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/handler"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/rpc"
)

// A script is the events of one watch. After the last one, the connection ends, unless it is of kind end.
type script []rpc.Event

// watched is a fake agent. Each watch gets the next script; the last one is repeated.
func watched(t *testing.T, scripts ...script) string {
	t.Helper()
	var began atomic.Int64
	return commandtest.FakeAgent(t, handler.Map{
		rpc.MethodBackupStart: handler.New(func(_ context.Context, r rpc.StartRequest) rpc.StartResponse {
			return rpc.StartResponse{BackupID: "backup-a-1", VMName: r.VMName, BackupType: r.BackupType, Status: string(rpc.Queued)}
		}),
		rpc.MethodAgentStatus:   handler.New(func(context.Context, rpc.None) rpc.AgentStatus { return rpc.AgentStatus{} }),
		rpc.MethodBackupUnwatch: handler.New(func(_ context.Context, r rpc.WatchRef) rpc.WatchRef { return r }),
		rpc.MethodBackupWatch: handler.New(func(ctx context.Context, _ rpc.WatchRequest) rpc.WatchRef {
			n := began.Add(1)
			events := scripts[min(int(n), len(scripts))-1]
			agent := jrpc2.ServerFromContext(ctx)
			kind := rpc.EventKind("")
			for _, e := range events {
				e.WatchID, kind = n, e.Kind
				agent.Notify(context.Background(), rpc.NotifyBackupEvent, e) //nolint:errcheck // the client may have gone
			}
			if kind != rpc.EventEnd {
				time.AfterFunc(50*time.Millisecond, func() { commandtest.HangUp(ctx) }) // after the answer is sent
			}
			return rpc.WatchRef{WatchID: n}
		}),
	})
}

func stateEvent(b rpc.Backup) rpc.Event {
	b.BackupID, b.VMName = "backup-a-1", "a"
	return rpc.Event{Kind: rpc.EventState, Backup: &b}
}

func progressEvent(p rpc.Progress) rpc.Event {
	e := stateEvent(rpc.Backup{State: rpc.Running})
	e.Kind, e.Progress = rpc.EventProgress, &p
	return e
}

var (
	runningEvent = stateEvent(rpc.Backup{State: rpc.Running, Disks: []rpc.BackupDisk{{Complete: true}, {DiskID: 1}}, BytesTransferred: 3 << 29})
	halfEvent    = progressEvent(rpc.Progress{
		ReceivedBytes: 5 << 20, TotalBytes: 10 << 20, BytesPerSecond: 1 << 20, Fraction: 0.5, ETASeconds: 200,
		Disks: []rpc.DiskProgress{{ReceivedBytes: 5 << 20, CapacityBytes: 10 << 20, Clients: 2}},
	})
	endEvent = rpc.Event{Kind: rpc.EventEnd}
)

func TestWaiting(t *testing.T) {
	for _, tt := range []struct {
		last rpc.Backup
		code int
		says string
	}{
		{rpc.Backup{State: rpc.Completed}, exit.OK, "backup-a-1: completed"},
		{rpc.Backup{State: rpc.Cancelled}, exit.Failed, "sendensectl: backup backup-a-1 was cancelled"},
		{rpc.Backup{State: rpc.Failed, Failure: &rpc.Failure{
			Reason: rpc.ReasonExporterFailed, Message: "qemu-nbd was killed", Unit: "u.service", Journal: []string{"last words"},
		}}, exit.Failed, "sendensectl: backup backup-a-1 failed: qemu-nbd was killed\n  journal of u.service:\n    last words\n"},
	} {
		for _, args := range [][]string{{"backup", "start", "a", "--wait"}, {"backup", "wait", "backup-a-1"}, {"backup", "watch", "backup-a-1"}} {
			// The agent is restarted while the backup runs.
			socket := watched(t, script{runningEvent, halfEvent}, script{runningEvent, halfEvent, stateEvent(tt.last), endEvent})
			code, stdout, stderr := ctl(t, socket, "", append(args, "-o", "json")...)
			if code != tt.code || !strings.Contains(stderr+stdout, strings.Split(tt.says, ":")[0]) {
				t.Errorf("%q: %d %q", args, code, stderr)
			}
			if args[1] == "watch" {
				checkJSONLines(t, stdout, "state progress state progress state")
				continue
			}
			var got rpc.Backup
			if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.State != tt.last.State {
				t.Errorf("%s: %v: %q", tt.last.State, err, stdout)
			}
			if !strings.Contains(stderr, tt.says) || strings.Count(stderr, ": running") != 1 || !strings.Contains(stderr, "the agent is back") {
				t.Errorf("%q: %q", args, stderr)
			}
		}
	}
}

func checkJSONLines(t *testing.T, stdout, want string) {
	t.Helper()
	var kinds []string
	for line := range strings.Lines(stdout) {
		var e rpc.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		kinds = append(kinds, string(e.Kind))
	}
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("events %q, want %q", got, want)
	}
}

func TestLines(t *testing.T) {
	socket := watched(t, script{runningEvent, halfEvent, halfEvent, stateEvent(rpc.Backup{State: rpc.Completed}), endEvent})
	const first, last = "backup-a-1: running, 1 of 2 disks complete, 1.5 GiB received\n", "backup-a-1: completed\n"
	const half = "backup-a-1: 50 %, 5 MiB received, 1 MiB/s, 3m20s left\n"
	for every, want := range map[time.Duration]string{time.Hour: first + last, 0: first + half + half + last} {
		var out, errs bytes.Buffer
		a := command.New("", nil, &out, &errs)
		a.ProgressEvery = every
		if code := a.Run(t.Context(), []string{"backup", "watch", "backup-a-1", "--socket", socket}, Command); code != exit.OK || out.String() != "" || errs.String() != want {
			t.Errorf("%d %q\n got %q\nwant %q", code, out.String(), errs.String(), want)
		}
	}
}

// TestWatchAll: a watch of all backups shows a backup that completes, and no restore point that is verified or merged until it is
// damaged.
func TestWatchAll(t *testing.T) {
	verified := stateEvent(rpc.Backup{State: rpc.Completed})
	damaged := stateEvent(rpc.Backup{State: rpc.Completed, InheritedFrom: []string{"backup-a-0"}})
	for _, tt := range []struct {
		events script
		lines  int
	}{
		{script{runningEvent, verified, verified, endEvent}, 2},
		{script{verified, verified, endEvent}, 0},
		{script{verified, damaged, damaged, verified, endEvent}, 2},
	} {
		code, _, stderr := ctl(t, watched(t, tt.events), "", "backup", "watch")
		if code != exit.OK || strings.Count(stderr, "backup-a-1: ") != tt.lines {
			t.Errorf("%d, want %d lines: %q", code, tt.lines, stderr)
		}
	}
}

func TestInterruptedWatching(t *testing.T) {
	socket := watched(t, script{runningEvent, endEvent}) // for a running backup, this is the end of the agent
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"backup", "watch"}, exit.OK, "sendensectl: no longer watching; the backups continue\n"},
		{[]string{"backup", "watch", "backup-a-1"}, exit.Failed, "sendensectl: no longer watching; backup backup-a-1 continues\n  to watch it again: sendensectl backup watch backup-a-1; to stop it: sendensectl backup cancel backup-a-1\n"},
		{[]string{"backup", "start", "a", "--wait"}, exit.Failed, "sendensectl: no longer watching; backup backup-a-1 continues\n"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var errs cancelOnWrite
		errs.cancel = cancel
		var out bytes.Buffer
		code := command.New("", nil, &out, &errs).Run(ctx, append(tt.args, "--socket", socket), Command)
		if code != tt.code || out.Len() > 0 || !strings.Contains(errs.String(), tt.says) {
			t.Errorf("%q: %d %q %q", tt.args, code, out.String(), errs.String())
		}
	}
}

// cancelOnWrite is a user who presses Ctrl-C at the first line.
type cancelOnWrite struct {
	bytes.Buffer
	cancel func()
}

func (w *cancelOnWrite) Write(p []byte) (int, error) {
	defer w.cancel()
	return w.Buffer.Write(p)
}

// TestAgentThatStaysAway: an agent that accepts connections but does not answer is not back.
func TestAgentThatStaysAway(t *testing.T) {
	socket := commandtest.FakeAgent(t, handler.Map{
		rpc.MethodBackupWatch: handler.New(func(ctx context.Context, _ rpc.WatchRequest) error {
			go commandtest.HangUp(ctx)
			<-ctx.Done()
			return ctx.Err()
		}),
		rpc.MethodAgentStatus: handler.New(func(ctx context.Context, _ rpc.None) error {
			go commandtest.HangUp(ctx)
			<-ctx.Done()
			return ctx.Err()
		}),
	})
	var errs bytes.Buffer
	a := command.New("", nil, &errs, &errs)
	a.ReconnectEvery, a.ReconnectFor = 5*time.Millisecond, 50*time.Millisecond
	code := a.Run(t.Context(), []string{"backup", "watch", "backup-a-1", "--socket", socket}, Command)
	if code != exit.Unreachable || !strings.Contains(errs.String(), "watching backup-a-1: connection to the agent") || strings.Count(errs.String(), "does not answer") != 1 {
		t.Errorf("%d %q", code, errs.String())
	}
}
