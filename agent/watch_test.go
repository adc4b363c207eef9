package agent_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// TestWatch: a watcher gets every state once and in order, with progress in between. A watcher that never reads blocks nobody. The
// channel closes when the watcher leaves.
func TestWatch(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20)
	lazy, err := w.Agent.Watch(t.Context(), events.Query{})
	agenttest.Must(t, err)
	ctx, leave := context.WithCancel(t.Context())
	stream, err := w.Agent.Watch(ctx, events.Query{VMName: "vm"})
	agenttest.Must(t, err)
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	var states []record.State
	for e := range stream {
		switch e.Kind {
		case events.State:
			if e.Backup.ID != b.ID {
				t.Errorf("told of %s", e.Backup.ID)
			}
			if len(states) == 0 || states[len(states)-1] != e.Backup.State {
				states = append(states, e.Backup.State)
			}
		case events.Progress:
			if e.Progress.TotalBytes != 8<<20 || e.Progress.Disks[0].Clients == 0 || e.Progress.ReceivedBytes == 0 {
				t.Errorf("progress: %+v", e.Progress)
			}
			w.SNA.Release("copy/0")
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
	for deadline := time.After(time.Minute); ; {
		select {
		case _, open := <-stream:
			if !open {
				<-lazy // its first event has been ready all the time
				return
			}
		case <-deadline:
			t.Fatal("the channel stays open")
		}
	}
}

func TestWatchUnknownBackup(t *testing.T) {
	w := agenttest.New(t)
	_, err := w.Agent.Watch(t.Context(), events.Query{BackupID: "backup-none-1"})
	agenttest.WantError(t, err, fault.BackupNotFound, "backup-none-1")
}
