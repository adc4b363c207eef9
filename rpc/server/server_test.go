package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// gate is a method that says when it has begun, and ends when the test lets it.
type gateMethod struct {
	begun chan context.Context
	let   chan struct{}
	max   atomic.Int32
	now   atomic.Int32
}

func newGate() *gateMethod {
	return &gateMethod{begun: make(chan context.Context, 1000), let: make(chan struct{})}
}

func (g *gateMethod) row() method {
	return row("wait", read, func(ctx context.Context, _ json.RawMessage) (any, error) {
		n := g.now.Add(1)
		defer g.now.Add(-1)
		for m := g.max.Load(); n > m && !g.max.CompareAndSwap(m, n); m = g.max.Load() {
		}
		g.begun <- ctx
		<-g.let
		return "waited", ctx.Err()
	})
}

const wait1 = `{"jsonrpc":"2.0","method":"wait","id":1}`

func TestHalfCloseStillGetsPendingAnswers(t *testing.T) {
	g := newGate()
	socket := serve(t, Options{}, []method{g.row()})
	nc := dial(t, socket)
	io.WriteString(nc, wait1+wait1+"["+wait1+"]")
	nc.CloseWrite()
	for range 3 {
		<-g.begun
	}
	close(g.let)
	out, err := io.ReadAll(nc)
	if err != nil || strings.Count(string(out), "waited") != 3 {
		t.Errorf("%q, %v", out, err)
	}
}

func TestHangUpCancelsNothing(t *testing.T) {
	g := newGate()
	socket := serve(t, Options{}, []method{g.row()})
	nc := dial(t, socket)
	io.WriteString(nc, wait1)
	ctx := <-g.begun
	nc.Close()
	time.Sleep(50 * time.Millisecond)
	if ctx.Err() != nil || ctx.Done() != nil {
		t.Errorf("the call's context can end with the connection: %v", ctx.Err())
	}
	close(g.let)
}

func TestCallsOfOneConnectionRunTogetherUpToABound(t *testing.T) {
	g := newGate()
	socket := serve(t, Options{}, append(specTable(), g.row()))
	nc := dial(t, socket)
	in := bufio.NewReader(nc)
	io.WriteString(nc, wait1+wait1+sum1)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, `"result":1`) {
		t.Fatalf("the quick call behind two slow ones: %q, %v", line, err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		io.WriteString(nc, strings.Repeat(wait1, 100)+"["+wait1+strings.Repeat(","+wait1, 99)+"]")
	}()
	for range maxInFlight {
		<-g.begun
	}
	time.Sleep(50 * time.Millisecond)
	close(g.let)
	<-sent
	nc.CloseWrite()
	out, err := io.ReadAll(in)
	if err != nil || strings.Count(string(out), "waited") != 202 {
		t.Errorf("%d answers, %v", strings.Count(string(out), "waited"), err)
	}
	if got := g.max.Load(); got > maxInFlight {
		t.Errorf("%d calls at once, the bound is %d", got, maxInFlight)
	}
}

func TestTwoHundredClients(t *testing.T) {
	socket := serve(t, Options{}, specTable())
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			c, err := rpc.Dial(context.Background(), socket)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for n := range 5 {
				var sum int
				if err := c.Call(context.Background(), "sum", []int{i, n}, &sum); err != nil || sum != i+n {
					t.Errorf("%d, %v", sum, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestConnectionCap(t *testing.T) {
	socket := serve(t, Options{MaxConnections: 2}, specTable())
	var held []*net.UnixConn
	for range 2 {
		nc := dial(t, socket)
		io.WriteString(nc, sum1)
		bufio.NewReader(nc).ReadString('\n') // it is served, not only queued
		held = append(held, nc)
	}
	if got := reason(t, converse(t, socket, sum1)); got != rpc.ReasonTooManyConnections {
		t.Errorf("third connection: %q", got)
	}
	c, err := rpc.Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var wire *rpc.Error
	if err := c.Call(t.Context(), "sum", []int{1}, nil); !errors.As(err, &wire) || wire.Data.Reason != rpc.ReasonTooManyConnections {
		t.Errorf("third connection, of our client: %v", err)
	}
	held[0].Close()
	for deadline := time.Now().Add(patience); ; {
		if reason(t, converse(t, socket, sum1)) == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a closed connection still counts")
		}
	}
}

func TestShutdownWaitsForCallsInFlight(t *testing.T) {
	g := newGate()
	socket, stop := serveUntil(t, Options{}, []method{g.row()})
	idle, busy := dial(t, socket), dial(t, socket)
	io.WriteString(busy, wait1)
	<-g.begun
	ended := make(chan error)
	go func() { ended <- stop() }()
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("idle connection: %v, want EOF", err)
	}
	if _, err := net.Dial("unix", socket); err == nil {
		t.Error("a connection was accepted while shutting down")
	}
	select {
	case err := <-ended:
		t.Fatalf("Serve returned with a call in flight: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(g.let)
	out, err := io.ReadAll(busy)
	if err != nil || !strings.Contains(string(out), "waited") {
		t.Errorf("%q, %v", out, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	g := newGate()
	socket, stop := serveUntil(t, Options{DrainTimeout: 50 * time.Millisecond}, []method{g.row()})
	io.WriteString(dial(t, socket), wait1)
	<-g.begun
	if err := stop(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Serve: %v", err)
	}
	close(g.let)
}

func TestListenerThatFails(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := newServer(Options{Logger: slog.New(slog.DiscardHandler)}, nil).Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}

func TestPanicsAndPlainErrorsAreInternalAndLogged(t *testing.T) {
	var log lockedBuffer
	var seen sync.Map
	socket := serve(t, Options{
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
		Observe: func(method string, code rpc.Code, _ time.Duration) { seen.Store(fmt.Sprint(method, " ", code), true) },
	}, specTable())
	for method, want := range map[string]string{"panic": "boom", "fail": "disk on fire"} {
		out := converse(t, socket, strings.Replace(sum1, "sum", method, 1)+sum1)
		if got := lines(t, out); len(got) != 2 {
			t.Fatalf("%s: the connection did not go on: %s", method, out)
		}
		if !strings.Contains(out, `"code":-32603`) || !strings.Contains(out, `"reason":"internal"`) {
			t.Errorf("%s: %s", method, out)
		}
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s: the log does not hold %q: %s", method, want, log.String())
		}
	}
	converse(t, socket, `{"jsonrpc":"2.0","method":"no.such.method","id":1}`)
	for _, want := range []string{"panic -32603", "fail -32603", "sum 0", " -32601"} {
		if _, ok := seen.Load(want); !ok {
			t.Errorf("the observer did not see %q", want)
		}
	}
}

func TestBatchIsBounded(t *testing.T) {
	socket := serve(t, Options{}, specTable())
	batch := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("1,", n), ",") + "]" }
	if out := converse(t, socket, batch(maxBatch)); strings.Count(out, "-32600") != maxBatch {
		t.Errorf("a batch of the most: %d errors", strings.Count(out, "-32600"))
	}
	if got := reason(t, converse(t, socket, batch(maxBatch+1))); got != rpc.ReasonMalformedMessage {
		t.Errorf("a batch of one more: %q", got)
	}
}

// People use the socket with these two programs. They must get the same answers as our client.
func TestSocatAndNetcat(t *testing.T) {
	socket := serve(t, Options{}, append(specTable(), row("slow", read, func(context.Context, json.RawMessage) (any, error) {
		time.Sleep(200 * time.Millisecond)
		return "slow but there", nil
	})))
	for _, tool := range []struct {
		pkg  string
		args []string
	}{
		{"socat", []string{"socat", "-t300", "-", "UNIX-CONNECT:" + socket}},
		{"netcat-openbsd", []string{"nc", "-N", "-U", socket}},
	} {
		t.Run(tool.args[0], func(t *testing.T) {
			path, err := exec.LookPath(tool.args[0])
			if err != nil {
				t.Fatalf("%v: install the Debian package %s", err, tool.pkg)
			}
			cmd := exec.CommandContext(t.Context(), path, tool.args[1:]...)
			cmd.Stdin = strings.NewReader("{\"jsonrpc\": \"2.0\",\n \"method\": \"slow\",\n \"id\": 1}\n" + sum1)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			want := `{"jsonrpc":"2.0","result":1,"id":1}` + "\n" + `{"jsonrpc":"2.0","result":"slow but there","id":1}` + "\n"
			if string(out) != want {
				t.Errorf("got %s\nwant %s", out, want)
			}
		})
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
