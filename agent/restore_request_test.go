package agent_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestRestoreAskedTwice: a repeated request starts nothing, also while the first one is being started, after a restart, and after the
// restore has ended.
func TestRestoreAskedTwice(t *testing.T) {
	w := newWorld(t)
	w.putVM("pgtest1", 8<<20, 8<<20)
	point := w.wait(w.startBackup("pgtest1").ID)
	ask := agent.RestoreRequest{BackupID: point.ID, RequestID: "mine"}
	answers := make(chan record.Restore, 4)
	for range cap(answers) {
		go func() {
			r, err := w.agent.StartRestore(context.Background(), ask)
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
	for what, other := range map[string]agent.RestoreRequest{
		"writable": {BackupID: point.ID, RequestID: "mine", Writable: true}, "disks": {BackupID: point.ID, RequestID: "mine", Disks: []int{1}},
	} {
		if _, err := w.agent.StartRestore(t.Context(), other); err == nil || agent.AsError(err).Reason != agent.InvalidRequest || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := w.agent.StartRestore(t.Context(), agent.RestoreRequest{BackupID: point.ID, RequestID: "bad\n"}); agent.AsError(err).Reason != agent.InvalidRequest {
		t.Errorf("%v", err)
	}
	w.stop()
	w.start()
	again, err := w.agent.StartRestore(t.Context(), ask)
	if err != nil || again.ID != first.ID {
		t.Errorf("after a restart: %s, %v", again.ID, err)
	}
	_, err = w.agent.StopRestore(t.Context(), first.ID)
	must(t, err)
	again, err = w.agent.StartRestore(t.Context(), ask)
	if err != nil || again.ID != first.ID || again.State != record.RestoreEnded {
		t.Errorf("after its end: %s %s, %v", again.ID, again.State, err)
	}
}

// TestWatchRestores: every state is told, of restores and of nothing else, and a failure says why; and all of it is counted.
func TestWatchRestores(t *testing.T) {
	w := newWorld(t)
	w.putVM("pgtest1", 8<<20)
	point := w.wait(w.startBackup("pgtest1").ID)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	events, err := w.agent.Watch(ctx, agent.WatchQuery{Restores: true})
	must(t, err)
	r, err := w.agent.StartRestore(ctx, agent.RestoreRequest{BackupID: point.ID})
	must(t, err)
	w.wantSeries(w.scrape(), series{
		`sendense_restore_active_info{kind="disks",state="serving",vm="pgtest1"}`: 1, "sendense_restore_overdue": 0,
	})
	must(t, w.units.Remove(ctx, r.Disks[0].Unit)) // somebody does that
	var got []string
	for e := range events {
		if e.Restore == nil || e.Restore.ID != r.ID {
			t.Fatalf("%+v", e)
		}
		if state := string(e.Restore.State); len(got) == 0 || got[len(got)-1] != state {
			got = append(got, state)
		}
		if !e.Restore.State.Active() {
			if e.Restore.Failure == nil || e.Restore.Failure.Reason != string(agent.ExporterFailed) {
				t.Errorf("%+v", e.Restore)
			}
			break
		}
	}
	if want := "preparing exporting serving stopping failed"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
	w.wantSeries(w.scrape(), series{
		`sendense_restore_ended_total{kind="disks",result="failed"}`: 1, `sendense_restore_failures_total{reason="exporter_failed"}`: 1,
	})
}

// TestFilesRefused: what cannot be read is refused before anything is started, and says what to do.
func TestFilesRefused(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Restore.Guestfish = filepath.Join(t.TempDir(), "guestfish")
	})
	w.putVM("pgtest1", 8<<20, 8<<20)
	point := w.wait(w.startBackup("pgtest1").ID)
	for _, c := range []struct {
		ask    agent.RestoreRequest
		reason agent.Reason
		says   string
	}{
		{agent.RestoreRequest{Files: true}, agent.InvalidRequest, "from one disk"},
		{agent.RestoreRequest{Files: true, Disks: []int{0}, Writable: true}, agent.InvalidRequest, "exclude each other"},
		{agent.RestoreRequest{Files: true, Disks: []int{7}}, agent.InvalidRequest, "no disk 7"},
		{agent.RestoreRequest{Files: true, Disks: []int{0}}, agent.ReaderMissing, "libguestfs-tools"},
	} {
		c.ask.BackupID = point.ID
		_, err := w.agent.StartRestore(t.Context(), c.ask)
		if e := agent.AsError(err); e == nil || e.Reason != c.reason || !strings.Contains(e.Message+e.Hint, c.says) {
			t.Errorf("%+v: %+v", c.ask, err)
		}
	}
}
