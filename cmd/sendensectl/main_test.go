package main

import (
	"context"
	"strings"
	"testing"

	"github.com/creachadair/jrpc2/handler"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/rpc"
)

func TestMain(m *testing.M) { commandtest.Main(m) }

// ctl runs a command line against the socket.
func ctl(t *testing.T, socket, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return commandtest.Run(t, nouns, socket, stdin, args...)
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"vm"}, "a command is missing"},
		{[]string{"vm", "lst"}, `unknown command "lst", did you mean list?`},
		{[]string{"frobnicate"}, `unknown command "frobnicate"`},
		{[]string{"vm", "list", "extra"}, `vm list: takes no arguments, got "extra"`},
		{[]string{"report", "x.html"}, `report: want --html FILE, got "x.html"`},
		{[]string{"completion"}, "completion: bash|zsh|fish is missing"},
		{[]string{"vm", "list", "--nope"}, "unknown flag"},
		{[]string{"vm", "list", "-o", "yaml"}, "want table, wide or json"},
		{[]string{"vm", "show"}, "vm show: NAME is missing, see sendensectl vm show --help"},
		{[]string{"vm", "show", "SQL", "Server"}, `vm show: want NAME, got "Server" too; put a name with blanks in quotes`},
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
		{[]string{"vm", "add", "a", "--disk", "id=0,unit=0,size=1G,colour=red"}, `unknown field "colour"`},
		{[]string{"backup", "start"}, "backup start: VM is missing"},
		{[]string{"backup", "start", "a", "--tag", "x"}, "want NAME=VALUE"},
		{[]string{"backup", "start", "a", "--rate-limit", "fast"}, "--rate-limit fast: size"},
		{[]string{"backup", "start", "a", "--rate-limit", "0"}, "for no limit, leave it out"},
		{[]string{"backup", "watch", "b", "--vm", "a"}, "not both"},
		{[]string{"backup", "watch", "b", "c"}, `want [BACKUP], got "c" too`},
		{[]string{"backup", "wait"}, "BACKUP is missing"},
		{[]string{"restore", "start"}, "restore start: BACKUP is missing"},
		{[]string{"restore", "start", "b", "--disk", "x"}, "--disk"},
		{[]string{"restore", "start", "b", "--expires", "1ms"}, "want a second or more"},
		{[]string{"restore", "disk", "b", "0"}, "restore disk: want BACKUP DISK FILE|DEVICE, see sendensectl restore disk --help"},
		{[]string{"restore", "disk", "b", "first", "f"}, "want the number of a disk"},
		{[]string{"restore", "disk", "b", "0", "f", "--format", "vhd"}, "want raw, qcow2, vmdk"},
	} {
		code, stdout, stderr := ctl(t, "/does/not/exist", "", tt.args...)
		if code != exit.Usage || stdout != "" || !strings.HasPrefix(stderr, "sendensectl: ") || !strings.Contains(stderr, tt.says) {
			t.Errorf("%q: %d %q %q, want …%s…", tt.args, code, stdout, stderr, tt.says)
		}
	}
}

func TestUnreachable(t *testing.T) {
	code, stdout, stderr := ctl(t, "/does/not/exist", "", "status")
	if code != exit.Unreachable || stdout != "" || !strings.Contains(stderr, "no such socket") || !strings.Contains(stderr, "systemctl status sendense-agent") {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
}

func TestHelpAndVersionNeedNoAgent(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"--version"}, {"version"}, {"version", "-o", "json"}, {"backup", "start", "--help"}, {"completion", "bash"}} {
		if code, stdout, stderr := ctl(t, "/does/not/exist", "", args...); code != exit.OK || stdout == "" || stderr != "" {
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
	socket := commandtest.FakeAgent(t, handler.Map{
		rpc.MethodBackupStart: handler.New(func(context.Context, rpc.StartRequest) (rpc.StartResponse, error) {
			return rpc.StartResponse{}, commandtest.WireError(e)
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
	if code != exit.Failed || stdout != "" || stderr != want {
		t.Errorf("%d %q\n%s\nwant\n%s", code, stdout, stderr, want)
	}
}
