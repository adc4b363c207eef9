package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/rpc"
)

func client(t *testing.T, socket string) *rpc.Client {
	t.Helper()
	c, err := rpc.Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestClientGetsErrorsWhole(t *testing.T) {
	disk := 3
	domain := &fault.Error{
		Reason: fault.ExporterFailed, Message: "export a-disk3: unit exited: status=1", Hint: "look at the journal",
		BackupID: "backup-a-1", DiskID: &disk, Unit: "u.service", Journal: []string{"one", "two"},
	}
	table := []method{typed(rpc.MethodBackupStart, operate, "x", func(context.Context, rpc.StartRequest) (rpc.StartResponse, error) {
		return rpc.StartResponse{}, fmt.Errorf("start: %w", domain)
	})}
	c := client(t, serve(t, Options{}, table))
	_, err := c.StartBackup(t.Context(), rpc.StartRequest{VMName: "a"})
	var e *rpc.Error
	if !errors.As(err, &e) {
		t.Fatalf("%T %v", err, err)
	}
	got, _ := json.Marshal(e)
	const want = `{"code":50001,"message":"export a-disk3: unit exited: status=1","data":{"reason":"exporter_failed","http_status":500,` +
		`"hint":"look at the journal","backup_id":"backup-a-1","disk_id":3,"unit":"u.service","journal":["one","two"]}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestClientIsConcurrent(t *testing.T) {
	c := client(t, serve(t, Options{}, specTable()))
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for n := range 20 {
				var sum int
				if err := c.Call(context.Background(), "sum", []int{i, n}, &sum); err != nil || sum != i+n {
					t.Errorf("%d+%d: %d, %v", i, n, sum, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestClientGivesUpWithItsContext(t *testing.T) {
	g := newGate()
	c := client(t, serve(t, Options{}, append(specTable(), g.row())))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Call(ctx, "wait", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(g.let) // its late answer disturbs no other call
	for range 10 {
		if err := c.Call(t.Context(), "sum", []int{1}, nil); err != nil {
			t.Error(err)
		}
	}
}

func TestClientOfAnAgentThatGoesAway(t *testing.T) {
	g := newGate()
	socket, stop := serveUntil(t, Options{DrainTimeout: time.Millisecond}, []method{g.row()})
	defer close(g.let)
	c := client(t, socket)
	failed := make(chan error)
	go func() { failed <- c.Call(context.Background(), "wait", nil, nil) }()
	<-g.begun
	stop()
	var lost *rpc.UnreachableError
	if err := <-failed; !errors.As(err, &lost) || !lost.Sent {
		t.Errorf("running call: %T %v", err, err)
	}
	if err := c.Call(t.Context(), "wait", nil, nil); !errors.As(err, &lost) || lost.Sent {
		t.Errorf("call after: %T %v", err, err)
	}
	if _, err := rpc.Dial(t.Context(), socket); !errors.As(err, &lost) || !strings.Contains(lost.Hint(), "systemctl status sendense-agent") {
		t.Errorf("new client: %T %v", err, err)
	}
}

// TestLastAnswerBeforeTheEnd: an answer that arrives together with the end of the connection is delivered.
func TestLastAnswerBeforeTheEnd(t *testing.T) {
	for range 50 {
		g := newGate()
		socket, stop := serveUntil(t, Options{}, []method{g.row()})
		c := client(t, socket)
		failed := make(chan error)
		for range 3 {
			go func() { failed <- c.Call(context.Background(), "wait", nil, nil) }()
		}
		for range 3 {
			<-g.begun
		}
		go close(g.let)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := <-failed; err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestClientIsToldWhyItWasCut(t *testing.T) {
	c := client(t, serve(t, Options{MaxMessageBytes: 1000}, specTable()))
	var e *rpc.Error
	err := c.Call(t.Context(), "echo", []string{strings.Repeat("x", 4<<20)}, nil)
	if !errors.As(err, &e) || e.Data.Reason != rpc.ReasonMessageTooLarge {
		t.Errorf("got %T %.200v", err, err)
	}
}

func TestClientClosedTwiceAndUsedAfter(t *testing.T) {
	c := client(t, serve(t, Options{}, specTable()))
	c.Close()
	c.Close()
	var lost *rpc.UnreachableError
	if err := c.Call(t.Context(), "sum", nil, nil); !errors.As(err, &lost) {
		t.Errorf("%T %v", err, err)
	}
}
