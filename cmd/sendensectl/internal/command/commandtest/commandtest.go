// Package commandtest runs commands in tests, against agents with the answers of the test. Only tests import it.
package commandtest

import (
	"bytes"
	"context"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/channel"
	"github.com/creachadair/jrpc2/handler"
	"go.uber.org/goleak"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/rpc"
)

// Main runs the tests of a package. They must not leak goroutines.
func Main(m *testing.M) {
	os.Unsetenv("COLUMNS") // tests do not depend on the caller's
	os.Exit(func() int {
		code := m.Run()
		if err := goleak.Find(); err != nil {
			println(err.Error())
			return 1
		}
		return code
	}())
}

// Run runs a command line against the agent at the socket.
func Run(t *testing.T, nouns []command.Noun, socket, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := command.New("1.0.0", strings.NewReader(stdin), &out, &errs)
	a.ReconnectEvery = 5 * time.Millisecond
	code = a.Run(t.Context(), append([]string{"--socket", socket}, args...), nouns...)
	return code, out.String(), errs.String()
}

// connections are the connections of the servers of fake agents.
var connections sync.Map

// HangUp closes the connection of a call. Stopping the server instead would race with the read of the next request, and jrpc2
// panics then.
func HangUp(ctx context.Context) {
	nc, _ := connections.Load(jrpc2.ServerFromContext(ctx))
	nc.(net.Conn).Close()
}

// known are the methods that most commands use. Every id is known, and there is nothing else.
var known = handler.Map{
	rpc.MethodVMList:      handler.New(func(context.Context, rpc.VMQuery) rpc.VMPage { return rpc.VMPage{} }),
	rpc.MethodBackupList:  handler.New(func(context.Context, rpc.BackupQuery) rpc.BackupPage { return rpc.BackupPage{} }),
	rpc.MethodBackupGet:   handler.New(func(_ context.Context, r rpc.BackupRef) rpc.Backup { return rpc.Backup{BackupID: r.BackupID} }),
	rpc.MethodRestoreList: handler.New(func(context.Context, rpc.RestoreQuery) rpc.RestoreList { return rpc.RestoreList{} }),
}

// FakeAgent answers calls with these methods until the test ends. It returns its socket.
func FakeAgent(t *testing.T, answers handler.Map) string {
	t.Helper()
	methods := maps.Clone(known)
	maps.Copy(methods, answers)
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

// WireError is an error as a method of the agent returns it.
func WireError(e *rpc.Error) error {
	return jrpc2.Errorf(jrpc2.Code(e.Code), "%s", e.Message).WithData(e.Data)
}
