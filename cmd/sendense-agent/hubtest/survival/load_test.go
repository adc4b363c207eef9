package survival_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

const clients = 200

// together runs f with a connection of its own for each client, all at once.
func together(t *testing.T, f func(ctx context.Context, c *rpc.Client)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hubtest.Patience)
	defer cancel()
	var wg, ready sync.WaitGroup
	begin := make(chan struct{})
	ready.Add(clients)
	for range clients {
		wg.Go(func() {
			c, err := rpc.Dial(ctx, rpc.DefaultSocket)
			ready.Done()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			<-begin
			f(ctx, c)
		})
	}
	ready.Wait()
	close(begin)
	wg.Wait()
}

func TestTwoHundredClients(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	together(t, func(ctx context.Context, c *rpc.Client) {
		for range 2 {
			if vm, err := c.GetVM(ctx, "pgtest1"); err != nil || len(vm.Disks) != 1 {
				t.Errorf("%+v, %v", vm, err)
			}
			if s, err := c.Status(ctx); err != nil || s.VMs != 1 {
				t.Errorf("%+v, %v", s, err)
			}
		}
	})
}

func TestTwoHundredStartsOfOneVM(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize, hubtest.DiskSize)
	h.Hold("copy/0")
	var won, refused atomic.Int32
	var id atomic.Value
	together(t, func(ctx context.Context, c *rpc.Client) {
		b, err := c.StartBackup(ctx, rpc.StartRequest{VMName: "pgtest1", BackupType: rpc.Full})
		var e *rpc.Error
		switch {
		case err == nil:
			won.Add(1)
			id.Store(b.BackupID)
		case errors.As(err, &e) && e.Data.Reason == rpc.ReasonBackupInProgress && e.Data.BackupID != "":
			refused.Add(1)
		default:
			t.Errorf("%T %v", err, err)
		}
	})
	if won.Load() != 1 || refused.Load() != clients-1 {
		t.Fatalf("%d started, %d were told of the one that was", won.Load(), refused.Load())
	}
	h.Release("copy/0")
	h.Completes(id.Load().(string), sources)
}

// Of two that watch, one never reads. The other one is told all, and the backup goes on.
func TestWatchers(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("pgtest1", hubtest.DiskSize, hubtest.DiskSize, hubtest.DiskSize)
	deaf, err := net.Dial("unix", rpc.DefaultSocket)
	hubtest.Must(t, err)
	defer deaf.Close()
	hubtest.Must(t, deaf.(*net.UnixConn).SetReadBuffer(4096))
	for range 16 {
		_, err = deaf.Write([]byte(`{"jsonrpc":"2.0","method":"backup.watch","params":{},"id":1}`))
		hubtest.Must(t, err)
	}
	id := h.Held("pgtest1", "copy/1")
	ctx, cancel := context.WithTimeout(t.Context(), hubtest.Patience)
	defer cancel()
	kinds := map[rpc.EventKind]int{}
	var states []rpc.BackupState
	for e, err := range h.Dial().Watch(ctx, rpc.WatchRequest{BackupID: id}) {
		hubtest.Must(t, err)
		kinds[e.Kind]++
		if e.Kind == rpc.EventState && (len(states) == 0 || states[len(states)-1] != e.Backup.State) {
			states = append(states, e.Backup.State)
		}
		if e.Kind == rpc.EventProgress && kinds[e.Kind] == 2 {
			if p := e.Progress; len(p.Disks) != 3 || p.TotalBytes != 3*hubtest.DiskSize || p.ReceivedBytes == 0 || p.Fraction <= 0 {
				t.Errorf("%+v", p)
			}
			h.Release("copy/1")
		}
	}
	if len(states) != 3 || states[0] != rpc.Running || states[1] != rpc.Finishing || states[2] != rpc.Completed {
		t.Errorf("states %q", states)
	}
	if kinds[rpc.EventProgress] < 2 || kinds[rpc.EventDropped] != 0 {
		t.Errorf("events %v", kinds)
	}
	h.Completes(id, sources)
	deaf.SetReadDeadline(time.Now().Add(hubtest.Patience)) // there was something to read
	if _, err := deaf.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}
