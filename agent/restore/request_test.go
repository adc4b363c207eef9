package restore_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestRestoreAskedTwice: a repeated request starts nothing: while the first one is being started, after a restart, and after the
// restore has ended.
func TestRestoreAskedTwice(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("pgtest1", 8<<20, 8<<20)
	point := w.Wait(w.StartBackup("pgtest1").ID)
	ask := restore.Request{BackupID: point.ID, RequestID: "mine"}
	answers := make(chan record.Restore, 4)
	for range cap(answers) {
		go func() {
			r, err := w.Agent.Restores.Start(context.Background(), ask)
			if err != nil {
				t.Error(err)
			}
			answers <- r
		}()
	}
	first := <-answers
	for range cap(answers) - 1 {
		if r := <-answers; r.ID != first.ID || r.State != record.RestoreServing {
			t.Errorf("%s is %s, and the first was %s", r.ID, r.State, first.ID)
		}
	}
	for what, other := range map[string]restore.Request{
		"writable": {BackupID: point.ID, RequestID: "mine", Writable: true}, "disks": {BackupID: point.ID, RequestID: "mine", Disks: []int{1}},
	} {
		if _, err := w.Agent.Restores.Start(t.Context(), other); err == nil || fault.From(err).Reason != fault.InvalidRequest || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: point.ID, RequestID: "bad\n"}); fault.From(err).Reason != fault.InvalidRequest {
		t.Errorf("%v", err)
	}
	w.Stop()
	w.Start()
	again, err := w.Agent.Restores.Start(t.Context(), ask)
	if err != nil || again.ID != first.ID {
		t.Errorf("after a restart: %s, %v", again.ID, err)
	}
	_, err = w.Agent.Restores.Stop(t.Context(), first.ID)
	agenttest.Must(t, err)
	again, err = w.Agent.Restores.Start(t.Context(), ask)
	if err != nil || again.ID != first.ID || again.State != record.RestoreEnded {
		t.Errorf("after its end: %s %s, %v", again.ID, again.State, err)
	}
}

// TestWatchRestores: watchers get every state of restores, and nothing else. A failure says why. The metrics count all of it.
func TestWatchRestores(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("pgtest1", 8<<20)
	point := w.Wait(w.StartBackup("pgtest1").ID)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := w.Agent.Watch(ctx, events.Query{Restores: true})
	agenttest.Must(t, err)
	r, err := w.Agent.Restores.Start(ctx, restore.Request{BackupID: point.ID})
	agenttest.Must(t, err)
	w.WantSeries(w.Scrape(), agenttest.Series{
		`sendense_restore_active_info{kind="disks",state="serving",vm="pgtest1"}`: 1, "sendense_restore_overdue": 0,
	})
	agenttest.Must(t, w.Units.Remove(ctx, r.Disks[0].Unit)) // an operator may do that
	var got []string
	for e := range stream {
		if e.Restore == nil || e.Restore.ID != r.ID {
			t.Fatalf("%+v", e)
		}
		if state := string(e.Restore.State); len(got) == 0 || got[len(got)-1] != state {
			got = append(got, state)
		}
		if !e.Restore.State.Active() {
			if e.Restore.Failure == nil || e.Restore.Failure.Reason != string(fault.ExporterFailed) {
				t.Errorf("%+v", e.Restore)
			}
			break
		}
	}
	if want := "preparing exporting serving stopping failed"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
	w.WantSeries(w.Scrape(), agenttest.Series{
		`sendense_restore_ended_total{kind="disks",result="failed"}`: 1, `sendense_restore_failures_total{reason="exporter_failed"}`: 1,
	})
}

// TestFilesRefused: a request for files that cannot be read is refused before anything starts, and the error says what to do.
func TestFilesRefused(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Restore.Guestfish = filepath.Join(t.TempDir(), "guestfish")
	})
	w.PutVM("pgtest1", 8<<20, 8<<20)
	point := w.Wait(w.StartBackup("pgtest1").ID)
	for _, c := range []struct {
		ask    restore.Request
		reason fault.Reason
		says   string
	}{
		{restore.Request{Files: true}, fault.InvalidRequest, "from one disk"},
		{restore.Request{Files: true, Disks: []int{0}, Writable: true}, fault.InvalidRequest, "exclude each other"},
		{restore.Request{Files: true, Disks: []int{7}}, fault.InvalidRequest, "no disk 7"},
		{restore.Request{Files: true, Disks: []int{0}}, fault.ReaderMissing, "sendense-agent-files"},
	} {
		c.ask.BackupID = point.ID
		_, err := w.Agent.Restores.Start(t.Context(), c.ask)
		if e := fault.From(err); e == nil || e.Reason != c.reason || !strings.Contains(e.Message+e.Hint, c.says) {
			t.Errorf("%+v: %+v", c.ask, err)
		}
	}
}
