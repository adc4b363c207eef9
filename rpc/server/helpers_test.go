package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sendense/backup-agent/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// row is a row of a test's table; its parameters are passed unchanged.
func row(name string, a access, handle func(context.Context, json.RawMessage) (any, error)) method {
	m := raw[rpc.None](name, a, "of a test", handle)
	m.handle = func(ctx context.Context, _ *exchange, params json.RawMessage) (any, error) {
		return handle(ctx, params)
	}
	return m
}

// specTable holds the methods that the examples of the JSON-RPC 2.0 specification call.
func specTable() []method {
	return []method{
		row("subtract", read, subtract),
		row("sum", read, func(_ context.Context, params json.RawMessage) (any, error) {
			var list []int
			err := json.Unmarshal(params, &list)
			sum := 0
			for _, n := range list {
				sum += n
			}
			return sum, err
		}),
		row("update", read, nothing),
		row("notify_sum", read, nothing),
		row("notify_hello", read, nothing),
		row("get_data", read, func(context.Context, json.RawMessage) (any, error) { return []any{"hello", 5}, nil }),
		row("echo", read, func(_ context.Context, params json.RawMessage) (any, error) { return params, nil }),
		row("panic", read, func(context.Context, json.RawMessage) (any, error) { panic("boom") }),
		row("fail", read, func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("disk on fire") }),
		row("act", operate, nothing),
	}
}

func subtract(_ context.Context, params json.RawMessage) (any, error) {
	var list []int
	if json.Unmarshal(params, &list) == nil {
		return list[0] - list[1], nil
	}
	var named struct{ Minuend, Subtrahend int }
	err := json.Unmarshal(params, &named)
	return named.Minuend - named.Subtrahend, err
}

func nothing(context.Context, json.RawMessage) (any, error) { return nil, nil }

// serve serves the table until the test ends and returns the path of its socket.
func serve(t testing.TB, opt Options, table []method) string {
	socket, stop := serveUntil(t, opt, table)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return socket
}

// serveUntil serves the table until stop is called. Stop returns the result of Serve.
func serveUntil(t testing.TB, opt Options, table []method) (socket string, stop func() error) {
	t.Helper()
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	opt.setDefaults()
	if table == nil {
		table = methods(opt.Agent)
	}
	socket = filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	s := newServer(opt, table)
	go func() { ended <- s.Serve(ctx, l) }()
	return socket, func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("did not return")
		}
	}
}

// patience bounds every wait, for a machine that is very busy: what takes longer hangs.
const patience = 5 * time.Minute

func dial(t testing.TB, socket string) *net.UnixConn {
	t.Helper()
	nc, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return nc.(*net.UnixConn)
}

// converse sends the input, finishes sending, and returns all answers.
func converse(t testing.TB, socket, input string) string {
	t.Helper()
	nc := dial(t, socket)
	if _, err := io.WriteString(nc, input); err != nil {
		t.Fatal(err)
	}
	nc.CloseWrite()
	out, err := io.ReadAll(nc)
	if err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return string(out)
}

// lines decodes every line of the output.
func lines(t testing.TB, out string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(out) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("not one JSON object on the line %q: %v", line, err)
		}
		all = append(all, m)
	}
	return all
}

// reason returns the reason of the error in an answer; "" for a success.
func reason(t testing.TB, out string) rpc.Reason {
	t.Helper()
	var r response
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if r.Error == nil {
		return ""
	}
	return r.Error.Data.Reason
}
