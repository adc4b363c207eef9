package server

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/rpc"
)

func TestClientLeavesAWatch(t *testing.T) {
	s := newFakeSource()
	c := client(t, serve(t, Options{}, s.rows()))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { (<-s.begun).tell(t, record.Running) }()
	for e, err := range c.Watch(ctx, rpc.WatchRequest{VMName: "a"}) {
		if err != nil || e.Backup.State != rpc.Running {
			t.Fatal(e, err)
		}
		break
	}
	left := make(chan *fakeWatch, 1)
	go func() {
		w := <-s.begun
		w.tell(t, record.Running)
		left <- w
		cancel()
	}()
	var last error
	for _, err := range c.Watch(ctx, rpc.WatchRequest{}) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("context that ended: %v", last)
	}
	(<-left).ends(t)
	if err := c.Call(t.Context(), "sum", []int{1}, nil); err != nil {
		t.Errorf("the connection afterwards: %v", err)
	}
}

func TestClientThatGaveUpBeforeTheWatchBegan(t *testing.T) {
	s := newFakeSource()
	c := client(t, serve(t, Options{}, s.rows()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.Watch(ctx, rpc.WatchRequest{}) {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	(<-s.begun).ends(t)
}

func TestClientWatchesAnAgentThatGoesAway(t *testing.T) {
	s := newFakeSource()
	socket, stop := serveUntil(t, Options{}, s.rows())
	c := client(t, socket)
	go func() { (<-s.begun).tell(t, record.Running) }()
	events, last := 0, error(nil)
	for _, err := range c.Watch(t.Context(), rpc.WatchRequest{BackupID: "b"}) {
		if last = err; err == nil {
			events++
			stop()
		}
	}
	var lost *rpc.UnreachableError
	if events != 1 || !errors.As(last, &lost) || lost.Sent {
		t.Errorf("%d events, %T %v", events, last, last)
	}
	for _, err := range c.Watch(t.Context(), rpc.WatchRequest{}) {
		if !errors.As(err, &lost) {
			t.Errorf("afterwards: %T %v", err, err)
		}
	}
}

func TestClientIsToldThatTheAgentStops(t *testing.T) {
	s := newFakeSource()
	c := client(t, serve(t, Options{}, s.rows()))
	go func() { close((<-s.begun).events) }()
	var refused *rpc.Error
	for _, err := range c.Watch(t.Context(), rpc.WatchRequest{BackupID: "b"}) {
		if !errors.As(err, &refused) || refused.Data.Reason != rpc.ReasonShuttingDown {
			t.Errorf("%T %v", err, err)
		}
	}
	for _, err := range c.Watch(t.Context(), rpc.WatchRequest{BackupID: "gone"}) {
		if !errors.As(err, &refused) || refused.Data.Reason != rpc.ReasonBackupNotFound {
			t.Errorf("%T %v", err, err)
		}
	}
}

// TestClientThatIsSlow: a slow loop loses the oldest events, is told how many, and does not delay other calls.
func TestClientThatIsSlow(t *testing.T) {
	const sent = 2000
	s := newFakeSource()
	c := client(t, serve(t, Options{}, s.rows()))
	told := make(chan struct{})
	go func() {
		defer close(told)
		w := <-s.begun
		for range sent - 1 {
			w.tell(t, record.Running)
		}
		w.tell(t, record.Completed)
		w.ends(t)
	}()
	seen, dropped, last := 0, 0, rpc.BackupState("")
	for e, err := range c.Watch(t.Context(), rpc.WatchRequest{BackupID: "b"}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen == 0 {
			<-told
			if err := c.Call(t.Context(), "sum", []int{1}, nil); err != nil {
				t.Error(err)
			}
			time.Sleep(100 * time.Millisecond) // until the last ones are read
		}
		if e.Kind == rpc.EventDropped {
			dropped += e.Dropped
			continue
		}
		seen++
		last = e.Backup.State
	}
	if dropped == 0 || seen+dropped != sent || last != rpc.Completed {
		t.Errorf("%d seen, %d dropped, the last %s; want %d in all", seen, dropped, last, sent)
	}
}
