package server

import (
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent/audit"
	"github.com/sendense/backup-agent/rpc"
)

const act1 = `{"jsonrpc":"2.0","method":"act","id":1}`

func TestOwnUserMayAct(t *testing.T) {
	socket := serve(t, Options{}, specTable())
	if got := reason(t, converse(t, socket, act1)); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestPeerCredentials(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial(t, l.Addr().String())
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	got, err := callerOf(nc.(*net.UnixConn))
	if err != nil {
		t.Fatal(err)
	}
	if int(got.UID) != os.Getuid() || int(got.GID) != os.Getgid() || int(got.PID) != os.Getpid() || !got.Operator {
		t.Errorf("%+v", got)
	}
	raw, _ := nc.(*net.UnixConn).SyscallConn()
	var groups []uint32
	raw.Control(func(fd uintptr) { groups, err = peerGroups(int(fd)) })
	want, _ := os.Getgroups()
	for _, g := range want {
		if err != nil || !slices.Contains(groups, uint32(g)) {
			t.Errorf("groups %v, %v; want %v", groups, err, want)
		}
	}
}

// TestOtherUsers connects as other users to a socket that every user can connect to, so that only the table protects the agent.
// The log has what was refused. It needs root to become another user.
func TestOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test acts as other users: run it as root, with sudo as CI does")
	}
	dir := t.TempDir()
	log, err := audit.Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	recorder, err := audit.NewRecorder(log, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	socket := serve(t, Options{Audit: recorder}, specTable())
	for _, path := range []string{socket, filepath.Dir(socket), filepath.Dir(filepath.Dir(socket))} {
		if err := os.Chmod(path, 0o777); err != nil { // others must reach it: t.TempDir makes two directories
			t.Fatal(err)
		}
	}
	const group = 4242
	if err := os.Chown(socket, 0, group); err != nil {
		t.Fatal(err)
	}
	manyGroups := make([]uint32, 200) // more than the first buffer holds
	for i := range manyGroups {
		manyGroups[i] = uint32(10000 + i)
	}
	manyGroups[199] = group
	for _, tt := range []struct {
		name string
		cred syscall.Credential
		want rpc.Reason
	}{
		{"a stranger", syscall.Credential{Uid: 4001, Gid: 4001, Groups: []uint32{4002}}, rpc.ReasonNotAllowed},
		{"primary group", syscall.Credential{Uid: 4001, Gid: group}, ""},
		{"supplementary group", syscall.Credential{Uid: 4001, Gid: 4001, Groups: []uint32{4002, group}}, ""},
		{"one of very many groups", syscall.Credential{Uid: 4001, Gid: 4001, Groups: manyGroups}, ""},
		{"root without groups", syscall.Credential{Uid: 0, Gid: 4001}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for input, want := range map[string]rpc.Reason{act1: tt.want, sum1: ""} {
				cmd := exec.Command("nc", "-N", "-U", socket)
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &tt.cred}
				cmd.Stdin = strings.NewReader(input)
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("nc (Debian package netcat-openbsd): %v", err)
				}
				if got := reason(t, string(out)); got != want {
					t.Errorf("%s: %q, want %q", input, got, want)
				}
			}
		})
	}
	refused := 0
	if _, _, err := audit.Read(dir, nil, func(e audit.Entry) error {
		if e.Kind == audit.Refused && *e.UID == 4001 && e.Method == "act" && e.Reason == string(rpc.ReasonNotAllowed) {
			refused++
		}
		return nil
	}); err != nil || refused != 1 {
		t.Errorf("%d refused requests of the stranger are on record, %v", refused, err)
	}
}
