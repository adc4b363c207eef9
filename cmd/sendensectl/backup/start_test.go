package backup

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/creachadair/jrpc2/handler"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/rpc"
)

// TestStartCommandCanBeTyped: the suggested command works for every name of a VM.
func TestStartCommandCanBeTyped(t *testing.T) {
	var got rpc.StartRequest
	socket := commandtest.FakeAgent(t, handler.Map{
		rpc.MethodBackupStart: handler.New(func(_ context.Context, r rpc.StartRequest) rpc.StartResponse {
			got = r
			return rpc.StartResponse{}
		}),
	})
	for _, vm := range []string{"pg1", "-dash", "--wait", "-- x", "SQL Server", "it's", "  lead", "a/b", "$HOME `id`", "büro"} {
		line := hint.StartCommand(vm, "--type auto --repository "+hint.ShellWord("r 1"))
		words, err := exec.Command("sh", "-c", "printf '%s\\0' "+strings.TrimPrefix(line, "sendensectl ")).Output()
		if err != nil {
			t.Fatal(err)
		}
		code, _, stderr := ctl(t, socket, "", strings.Split(strings.TrimSuffix(string(words), "\x00"), "\x00")...)
		if code != exit.OK || got.VMName != vm || got.BackupType != rpc.Auto || got.RepositoryID != "r 1" {
			t.Errorf("%s: %d %q, the agent was asked for %+v", line, code, stderr, got)
		}
	}
}

func TestStartQueued(t *testing.T) {
	var got atomic.Value
	socket := commandtest.FakeAgent(t, handler.Map{
		rpc.MethodBackupStart: handler.New(func(_ context.Context, r rpc.StartRequest) rpc.StartResponse {
			got.Store(r)
			return rpc.StartResponse{BackupID: "backup-a-1", VMName: "a", BackupType: r.BackupType, Status: "queued"}
		}),
	})
	code, stdout, stderr := ctl(t, socket, "", "backup", "start", "a", "--type", "auto", "--queue", "--rate-limit", "100MiB/s")
	want := rpc.StartRequest{VMName: "a", BackupType: rpc.Auto, Queue: true, RateLimit: 100 << 20}
	if r := got.Load().(rpc.StartRequest); fmt.Sprint(r) != fmt.Sprint(want) {
		t.Errorf("sent %+v, want %+v", r, want)
	}
	if code != exit.OK || !strings.Contains(stdout, "queued") || !strings.Contains(stdout, "sendensectl backup watch backup-a-1") || stderr != "" {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
}
