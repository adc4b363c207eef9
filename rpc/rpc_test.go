package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sendense/backup-agent/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestCodes: no two reasons have one code, and the application's codes of each HTTP status are numbered from 1 without gaps.
func TestCodes(t *testing.T) {
	seen := map[rpc.Code]rpc.Reason{}
	last, count := map[int]int{}, map[int]int{} // by HTTP status: the highest number, and how many there are
	for _, r := range rpc.Reasons() {
		code, status := r.Code(), r.HTTPStatus()
		if other, twice := seen[code]; twice {
			t.Errorf("%s and %s have the code %d", r, other, code)
		}
		seen[code] = r
		switch {
		case code < -32768 || code > -32000: // the application's own
			if int(code)/100 != status {
				t.Errorf("%s: code %d does not begin with its HTTP status %d", r, code, status)
			}
			last[status] = max(last[status], int(code)%100)
			count[status]++
		case code != rpc.CodeParseError && code != rpc.CodeInvalidRequest && code != rpc.CodeMethodNotFound &&
			code != rpc.CodeInvalidParams && code != rpc.CodeInternalError:
			t.Errorf("%s: code %d is reserved by the specification", r, code)
		}
	}
	for status, n := range count {
		if last[status] != n {
			t.Errorf("HTTP status %d: %d codes, and the last one is %d%02d", status, n, status, last[status])
		}
	}
	if len(count) < 10 {
		t.Errorf("codes of only %d HTTP statuses", len(count))
	}
	if r := rpc.Reason("of a newer agent"); r.Code() != rpc.CodeInternalError || r.HTTPStatus() != 500 {
		t.Errorf("unknown reason: %d, %d", r.Code(), r.HTTPStatus())
	}
}

// TestStartOnTheWire: callers of the agent know these fields in this order.
func TestStartOnTheWire(t *testing.T) {
	request, _ := json.Marshal(rpc.StartRequest{
		VMName: "test-vm", BackupType: rpc.Full, RepositoryID: "main", PolicyID: "p", Tags: map[string]string{"k": "v"}, RequestID: "r",
	})
	const wantRequest = `{"vm_name":"test-vm","backup_type":"full","repository_id":"main","policy_id":"p","tags":{"k":"v"},"request_id":"r"}`
	if string(request) != wantRequest {
		t.Errorf("request\n got %s\nwant %s", request, wantRequest)
	}
	more, _ := json.Marshal(rpc.StartRequest{VMName: "test-vm", BackupType: rpc.Auto, Queue: true, RateLimit: 100 << 20})
	if want := `{"vm_name":"test-vm","backup_type":"auto","queue":true,"rate_limit":104857600}`; string(more) != want {
		t.Errorf("request\n got %s\nwant %s", more, want)
	}
	response, _ := json.Marshal(rpc.StartResponse{
		BackupID: "backup-test-vm-1", VMContextID: "ctx", VMName: "test-vm",
		DiskResults: []rpc.DiskResult{{
			DiskID: 0, NBDPort: 10105, NBDExportName: "test-vm-disk0", QCOW2Path: "/r/x.qcow2", QemuNBDPID: 42, Status: rpc.QemuStarted,
		}},
		NBDTargetsString: "2000:nbd://127.0.0.1:10105/test-vm-disk0", BackupType: rpc.Full, RepositoryID: "main",
		Status: rpc.StatusStarted, TotalBytes: 512, CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	})
	const wantResponse = `{"backup_id":"backup-test-vm-1","vm_context_id":"ctx","vm_name":"test-vm","disk_results":[{"disk_id":0,` +
		`"nbd_port":10105,"nbd_export_name":"test-vm-disk0","qcow2_path":"/r/x.qcow2","qemu_nbd_pid":42,"status":"qemu_started"}],` +
		`"nbd_targets_string":"2000:nbd://127.0.0.1:10105/test-vm-disk0","backup_type":"full","repository_id":"main",` +
		`"status":"started","bytes_transferred":0,"total_bytes":512,"created_at":"2026-01-02T03:04:05Z"}`
	if string(response) != wantResponse {
		t.Errorf("response\n got %s\nwant %s", response, wantResponse)
	}
}

func TestDialSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	for socket, want := range map[string]string{
		filepath.Join(dir, "missing"):       "there is no such socket",
		dead:                                "nothing listens",
		filepath.Join(dir, "dead", "below"): "not a directory",
	} {
		_, err := rpc.Dial(t.Context(), socket)
		var lost *rpc.UnreachableError
		if !errors.As(err, &lost) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), socket) || lost.Sent {
			t.Errorf("%s: %v, want …%s…", socket, err, want)
			continue
		}
		if !strings.Contains(lost.Hint(), "systemctl status sendense-agent") {
			t.Errorf("hint: %s", lost.Hint())
		}
	}
	denied := &rpc.UnreachableError{Socket: "/s", Err: &net.OpError{Op: "dial", Err: fmt.Errorf("x: %w", fs.ErrPermission)}}
	if !strings.Contains(denied.Error(), "permission denied") || !strings.Contains(denied.Hint(), "group") {
		t.Errorf("%v: %s", denied, denied.Hint())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rpc.Dial(ctx, dead); !errors.Is(err, context.Canceled) {
		t.Errorf("context that has ended: %v", err)
	}
}
