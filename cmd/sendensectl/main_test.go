package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/channel"
	"github.com/creachadair/jrpc2/handler"
	"go.uber.org/goleak"

	"github.com/sendense/backup-agent/rpc"
)

func TestMain(m *testing.M) {
	os.Unsetenv("COLUMNS") // what the caller has does not matter
	os.Exit(func() int {
		code := m.Run()
		if err := goleak.Find(); err != nil {
			println(err.Error())
			return 1
		}
		return code
	}())
}

// connections are those of the fake agents' servers.
var connections sync.Map

// hangUp ends the connection that a call came over. Stopping its server would race with the reading of the next request,
// and jrpc2 panics then.
func hangUp(ctx context.Context) {
	nc, _ := connections.Load(jrpc2.ServerFromContext(ctx))
	nc.(net.Conn).Close()
}

// fakeAgent answers calls with the methods given until the test ends.
func fakeAgent(t *testing.T, methods handler.Map) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s := jrpc2.NewServer(methods, &jrpc2.ServerOptions{AllowPush: true})
			connections.Store(s, nc)
			defer s.Start(channel.Line(nc, nc)).Wait()
			defer nc.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return socket
}

// ctl runs a command line against the socket.
func ctl(t *testing.T, socket, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := newApp(buildVersion(), strings.NewReader(stdin), &out, &errs)
	a.reconnectEvery = 5 * time.Millisecond
	code = a.execute(t.Context(), append(args, "--socket", socket))
	return code, out.String(), errs.String()
}

func wireError(e *rpc.Error) error {
	return jrpc2.Errorf(jrpc2.Code(e.Code), "%s", e.Message).WithData(e.Data)
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{}, "a command is missing"},
		{[]string{"vm"}, "a command is missing"},
		{[]string{"vm", "lst"}, `no command "lst", did you mean list?`},
		{[]string{"frobnicate"}, `no command "frobnicate"`},
		{[]string{"vm", "list", "extra"}, `vm list: takes no arguments, but there is "extra"`},
		{[]string{"report", "x.html"}, `report: want --html FILE, but there is "x.html"`},
		{[]string{"completion"}, "completion: bash|zsh|fish is missing"},
		{[]string{"vm", "list", "--nope"}, "unknown flag"},
		{[]string{"vm", "list", "-o", "yaml"}, "want table, wide or json"},
		{[]string{"vm", "show"}, "vm show: NAME is missing, see sendensectl vm show --help"},
		{[]string{"vm", "show", "SQL", "Server"}, `vm show: want NAME, but there is "Server" too; a name with blanks in it needs quotes`},
		{[]string{"vm", "add", "b\xf6se"}, `"b\xf6se": want UTF-8`}, // from a terminal of ISO 8859-1
		{[]string{"backup", "start", "a", "--tag", "why=\xe4"}, "want UTF-8"},
		{[]string{"vm", "add", "-f", "/does/not/\xf6"}, "no such file"},
		{[]string{"vm", "add"}, "want one NAME"},
		{[]string{"vm", "add", "a", "-f", "x"}, "not both"},
		{[]string{"vm", "add", "-f", "x", "--path", "/p"}, "none of the others can be"},
		{[]string{"vm", "add", "-f", "/does/not/exist"}, "no such file"},
		{[]string{"vm", "add", "a", "--disk", "id=0,unit=0"}, "size= is missing"},
		{[]string{"vm", "add", "a", "--disk", "id=0,unit=0,size=40X"}, "want bytes"},
		{[]string{"vm", "add", "a", "--disk", "id=0,id=1,unit=0,size=1G"}, "each name once"},
		{[]string{"vm", "add", "a", "--disk", "id=0,unit=0,size=1G,colour=red"}, `"colour" is not known`},
		{[]string{"backup", "start"}, "backup start: VM is missing"},
		{[]string{"backup", "start", "a", "--tag", "x"}, "want NAME=VALUE"},
		{[]string{"backup", "start", "a", "--rate-limit", "fast"}, "--rate-limit fast: size"},
		{[]string{"backup", "start", "a", "--rate-limit", "0"}, "leave it out for no limit"},
		{[]string{"backup", "watch", "b", "--vm", "a"}, "not both"},
		{[]string{"backup", "watch", "b", "c"}, `want [BACKUP], but there is "c" too`},
		{[]string{"backup", "wait"}, "BACKUP is missing"},
		{[]string{"restore", "start"}, "restore start: BACKUP is missing"},
		{[]string{"restore", "start", "b", "--disk", "x"}, "--disk"},
		{[]string{"restore", "start", "b", "--expires", "1ms"}, "want a second or more"},
		{[]string{"restore", "disk", "b", "0"}, "restore disk: want BACKUP DISK FILE|DEVICE, see sendensectl restore disk --help"},
		{[]string{"restore", "disk", "b", "first", "f"}, "want the number of a disk"},
		{[]string{"restore", "disk", "b", "0", "f", "--format", "vhd"}, "want raw, qcow2, vmdk"},
	} {
		code, stdout, stderr := ctl(t, "/does/not/exist", "", tt.args...)
		if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "sendensectl: ") || !strings.Contains(stderr, tt.says) {
			t.Errorf("%q: %d %q %q, want …%s…", tt.args, code, stdout, stderr, tt.says)
		}
	}
}

func TestUnreachable(t *testing.T) {
	code, stdout, stderr := ctl(t, "/does/not/exist", "", "status")
	if code != exitUnreachable || stdout != "" || !strings.Contains(stderr, "no such socket") || !strings.Contains(stderr, "systemctl status sendense-agent") {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
}

func TestHelpAndVersionNeedNoAgent(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"--version"}, {"version"}, {"version", "-o", "json"}, {"backup", "start", "--help"}, {"completion", "bash"}} {
		if code, stdout, stderr := ctl(t, "/does/not/exist", "", args...); code != exitOK || stdout == "" || stderr != "" {
			t.Errorf("%q: %d %q %q", args, code, stdout, stderr)
		}
	}
	if _, stdout, _ := ctl(t, "", "", "--help"); !strings.Contains(stdout, "3  the agent cannot be reached") {
		t.Errorf("the help does not tell the exit codes: %s", stdout)
	}
}

func TestErrorOfTheAgent(t *testing.T) {
	e := rpc.NewError(rpc.ReasonExporterFailed, "export a-disk0: unit exited: status=1").WithHint("is qemu-nbd installed?")
	e.Data.BackupID, e.Data.Unit, e.Data.Journal = "backup-a-1", "u.service", []string{"qemu-nbd: \x1b[31mno", "gone"}
	socket := fakeAgent(t, handler.Map{
		rpc.MethodBackupStart: handler.New(func(context.Context, rpc.StartRequest) (rpc.StartResponse, error) {
			return rpc.StartResponse{}, wireError(e)
		}),
	})
	code, stdout, stderr := ctl(t, socket, "", "backup", "start", "a", "-o", "json")
	const want = `sendensectl: export a-disk0: unit exited: status=1
  is qemu-nbd installed?
  more: sendensectl backup show backup-a-1
  journal of u.service:
    qemu-nbd: \x1b[31mno
    gone
`
	if code != exitFailed || stdout != "" || stderr != want {
		t.Errorf("%d %q\n%s\nwant\n%s", code, stdout, stderr, want)
	}
}

func TestVMAdd(t *testing.T) {
	want := rpc.VM{
		VMName: "pg\x1b test", VMContextID: "ctx", InventoryPath: "/DC1/vm/pg", VCenter: "main",
		Disks: []rpc.Disk{
			{DiskID: 0, UnitNumber: 0, DeviceKey: 2000, CapacityBytes: 40 << 30, Label: "Hard disk 1"},
			{DiskID: 1, UnitNumber: 1, CapacityBytes: 1 << 30},
		},
	}
	var got atomic.Value
	socket := fakeAgent(t, handler.Map{
		rpc.MethodVMPut: handler.New(func(_ context.Context, vm rpc.VM) rpc.VMPut {
			got.Store(vm)
			return rpc.VMPut{Created: true, VM: vm}
		}),
		rpc.MethodVMGet: handler.New(func(context.Context, rpc.VMRef) rpc.VM { return want }),
	})
	check := func(what string, code int, stdout, stderr string) {
		t.Helper()
		text, _ := json.Marshal(want)
		sent, _ := json.Marshal(got.Load())
		if code != exitOK || string(sent) != string(text) || stdout != `vm pg\x1b test added with 2 disks, 41 GiB`+"\n" || stderr != "" {
			t.Errorf("%s: %d %q %q\nsent %s\nwant %s", what, code, stdout, stderr, sent, text)
		}
		got = atomic.Value{}
	}
	code, stdout, stderr := ctl(t, socket, "", "vm", "add", want.VMName, "--path", "/DC1/vm/pg", "--vcenter", "main", "--context-id", "ctx",
		"--disk", "id=0,unit=0,size=40GiB,key=2000,label=Hard disk 1", "--disk", "id=1,unit=1,size=1073741824")
	check("flags", code, stdout, stderr)

	_, shown, _ := ctl(t, socket, "", "vm", "show", "x", "-o", "json")
	code, stdout, stderr = ctl(t, socket, shown, "vm", "add", "-f", "-")
	check("what show printed", code, stdout, stderr)

	for _, bad := range []string{`{"vm_name":"a","diks":[]}`, `[]`, `{} {}`, ``} {
		if code, _, stderr := ctl(t, socket, bad, "vm", "add", "-f", "-"); code != exitUsage {
			t.Errorf("%q: %d %s", bad, code, stderr)
		}
	}
}

func TestListsAsTableAndJSON(t *testing.T) {
	page := rpc.BackupPage{NextCursor: "next", Backups: []rpc.Backup{{
		BackupID: "backup-a-1", VMName: "böse\n\u202e" + strings.Repeat("x", 300), BackupType: rpc.Full, RepositoryID: "main", State: rpc.Completed,
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), BytesTransferred: 3 << 29,
	}}}
	socket := fakeAgent(t, handler.Map{
		rpc.MethodBackupList: handler.New(func(_ context.Context, q rpc.BackupQuery) (rpc.BackupPage, error) {
			if !reflect.DeepEqual(q, rpc.BackupQuery{VMName: "a", State: rpc.Completed, Limit: 1, Cursor: "c", Tags: map[string]string{"tier": "gold", "nightly": ""}, Damaged: true}) {
				return rpc.BackupPage{}, errors.New("other query")
			}
			return page, nil
		}),
	})
	args := []string{"backup", "list", "--vm", "a", "--state", "completed", "--limit", "1", "--cursor", "c", "--tag", "tier=gold", "--tag", "nightly", "--damaged"}
	code, stdout, stderr := ctl(t, socket, "", args...)
	if code != exitOK || !strings.Contains(stdout, `böse\n\u202exxx`) || !strings.Contains(stdout, "1.5 GiB") || strings.Count(stdout, "\n") != 2 {
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
