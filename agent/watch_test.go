package agent_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/record"
)

// TestWatch: a watcher is told every state, in order and once, and progress in between; one that never reads is in
// nobody's way; the channel closes when the watcher leaves.
func TestWatch(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20)
	lazy, err := w.agent.Watch(t.Context(), agent.WatchQuery{})
	must(t, err)
	ctx, leave := context.WithCancel(t.Context())
	events, err := w.agent.Watch(ctx, agent.WatchQuery{VMName: "vm"})
	must(t, err)
	w.sna.Hold("copy/0")
	b := w.startBackup("vm")
	var states []record.State
	for e := range events {
		switch e.Kind {
		case agent.EventState:
			if e.Backup.ID != b.ID {
				t.Errorf("told of %s", e.Backup.ID)
			}
			if len(states) == 0 || states[len(states)-1] != e.Backup.State {
				states = append(states, e.Backup.State)
			}
		case agent.EventProgress:
			if e.Progress.TotalBytes != 8<<20 || e.Progress.Disks[0].Clients == 0 || e.Progress.ReceivedBytes == 0 {
				t.Errorf("progress: %+v", e.Progress)
			}
			w.sna.Release("copy/0")
		}
		if e.Backup.State.Terminal() {
			break
		}
	}
	want := []record.State{record.Preparing, record.Exporting, record.Calling, record.Running, record.Finishing, record.Completed}
	if !slices.Equal(states, want) {
		t.Errorf("told of %v, want %v", states, want)
	}
	leave()
	for deadline := time.After(10 * time.Second); ; {
		select {
		case _, open := <-events:
			if !open {
				<-lazy // it has been waiting all the time
				return
			}
		case <-deadline:
			t.Fatal("the channel stays open")
		}
	}
}

func TestWatchUnknownBackup(t *testing.T) {
	w := newWorld(t)
	_, err := w.agent.Watch(t.Context(), agent.WatchQuery{BackupID: "backup-none-1"})
	wantError(t, err, agent.BackupNotFound, "backup-none-1")
}
