package agent_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/prune"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// warns fails the test unless a warning with these words has been logged.
func warns(t *testing.T, log *agenttest.LockedBuffer, words ...string) {
	t.Helper()
	for line := range strings.Lines(log.String()) {
		found := strings.Contains(line, "level=WARN")
		for _, w := range words {
			found = found && strings.Contains(line, w)
		}
		if found {
			return
		}
	}
	t.Errorf("no warning has %q:\n%s", words, log.String())
}

const fiveYears = 5 * 365 * 24 * time.Hour

// TestClockWasAhead: one backup was made while the clock was five years ahead. It removes no other restore point, counts for no age and
// no verification, and is named wherever a person looks. The next incremental is based on the restore point that was made last.
func TestClockWasAhead(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepWithin: config.AgeOf(30 * 24 * time.Hour)}), agenttest.Scheduled(0))
	_, sources := w.PutVM("vm", 16<<20)
	var points []agenttest.Instant
	for i := range 3 {
		agenttest.Scribble(t, sources[0], int64(i+1)<<20)
		points = append(points, agenttest.Instant{Backup: w.Point("vm", record.Auto), Disks: agenttest.Freeze(t, sources)})
	}
	ahead := points[1].Backup
	var log agenttest.LockedBuffer
	w.Logger = slog.New(slog.NewTextHandler(&log, nil))
	w.Redated(fiveYears, ahead)
	warns(t, &log, "a restore point is dated in the future", ahead.ID)
	points[1].CreatedAt = points[1].CreatedAt.Add(fiveYears)

	dry := w.Prune(prune.Request{DryRun: true})
	if len(dry.Points) != 1 || dry.Points[0].BackupID != ahead.ID || dry.Points[0].Misdated == "" || dry.Removed != 0 {
		t.Errorf("the dry run says %+v", dry)
	}
	if done := w.Prune(prune.Request{}); done.Removed != 0 || done.Kept != 3 {
		t.Errorf("pruned: %+v", done)
	}
	warns(t, &log, "a restore point counts for no retention rule", ahead.ID)
	const of = `{repository="main",vm="vm"}`
	rebuilt, err := w.Agent.Records.Backup(points[2].ID)
	agenttest.Must(t, err)
	last := float64(rebuilt.EndedAt.UnixMilli()) / 1000
	w.WantSeries(w.Scrape(), agenttest.Series{
		"sendense_agent_future_restore_points":                1,
		"sendense_backup_last_success_timestamp_seconds" + of: last,
	})
	if s := w.Agent.Status(t.Context()); s.FuturePoints != 1 || !slices.Contains(s.FutureIDs, ahead.ID) {
		t.Errorf("the status says %d, %v", s.FuturePoints, s.FutureIDs)
	}
	if found := w.DoctorSays("dates"); len(found) != 1 || found[0].Status != doctor.Warning || !strings.Contains(found[0].Message, ahead.ID) || found[0].Hint == "" {
		t.Errorf("the doctor says %+v", found)
	}
	w.Known(ahead.ID, "a verification by schedule", func(v record.Verification) bool { return !v.DeepAt.IsZero() && v.DeepAt.Before(time.Now()) })

	agenttest.Scribble(t, sources[0], 9<<20)
	next := agenttest.Instant{Backup: w.Point("vm", record.Incremental), Disks: agenttest.Freeze(t, sources)}
	if next.Parent != points[2].ID || next.Sequence <= points[2].Sequence {
		t.Errorf("the next one stands on %s, sequence %d after %d", next.Parent, next.Sequence, points[2].Sequence)
	}
	listed, err := w.Agent.Chain(t.Context(), "vm", "main")
	agenttest.Must(t, err)
	for i, want := range append(points, next) {
		if listed[i].Backup.ID != want.ID {
			t.Errorf("point %d of the chain is %s, want %s", i, listed[i].Backup.ID, want.ID)
		}
	}
	w.Chains.Whole(append(points, next)...)
}

// TestClockWasAheadForAll: all restore points of a VM are dated in the future, so the VM has no last success and is late since it was put
// on record. The next incremental is based on the restore point that was made last.
func TestClockWasAheadForAll(t *testing.T) {
	w := agenttest.New(t, agenttest.Scheduled(0))
	w.PutVM("vm", 4<<20)
	full := w.Point("vm", record.Full)
	w.Redated(fiveYears, full)
	const of = `{repository="main",vm="vm"}`
	w.WantSeries(w.Scrape(), agenttest.Series{
		"sendense_backup_last_success_timestamp_seconds" + of:       -1,
		"sendense_backup_last_success_size_bytes" + of:              4 << 20,
		`sendense_verify_oldest_timestamp_seconds{depth="shallow"}`: 0,
	})
	if next := w.Point("vm", record.Incremental); next.Parent != full.ID {
		t.Errorf("the next one stands on %s", next.Parent)
	}
}

// TestPruneIsHeld: a daily prune that would remove most of a VM's restore points removes none. It is held, across a restart of the daemon
// too, until a person runs it. The prune of another VM is not affected.
func TestPruneIsHeld(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 2}), func(c *config.Config, _ *snatest.Options) {
		c.Prune.At = time.Now().Add(12 * time.Hour).Format("15:04") // not during the test: the test starts every run
	})
	w.PutVM("vm", 1<<20)
	w.PutVM("few", 1<<20)
	var points, few []agenttest.Instant
	for range 5 {
		points = append(points, agenttest.Instant{Backup: w.Point("vm", record.Full)})
	}
	for range 3 {
		few = append(few, agenttest.Instant{Backup: w.Point("few", record.Full)})
	}
	held := func(want int) {
		t.Helper()
		value := float64(want)
		if want == 0 {
			value = -1
		}
		w.WantSeries(w.Scrape(), agenttest.Series{`sendense_prune_held_restore_points{repository="main",vm="vm"}`: value})
		status := w.Agent.Status(t.Context()).HeldPrunes
		if got := len(status) == 1 && status[0].VMName == "vm" && status[0].Removed == want && status[0].Points == 5; got != (want > 0) {
			t.Errorf("the status says %+v", status)
		}
		found := w.DoctorSays("prune")
		if len(found) != 1 || (found[0].Status == doctor.Warning) != (want > 0) {
			t.Errorf("the doctor says %+v", found)
		}
	}
	held(0)
	if dry := w.Prune(prune.Request{DryRun: true}); len(dry.Held) != 1 || dry.Held[0].Removed != 3 || dry.Held[0].Points != 5 || dry.Removed != 4 {
		t.Errorf("the dry run says %+v", dry)
	}
	held(0) // a dry run holds nothing
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := w.Agent.Watch(ctx, events.Query{VMName: "vm", Prunes: true})
	agenttest.Must(t, err)
	run := w.Prune(prune.Request{Scheduled: true})
	if run.Removed != 1 || run.Kept != 7 || len(run.Held) != 1 || w.Chains.There(points) != "there there there there there" || w.Chains.There(few) != "- there there" {
		t.Errorf("%+v; there: %s, %s", run, w.Chains.There(points), w.Chains.There(few))
	}
	held(3)
	wantEvent := func(e events.Event) {
		t.Helper()
		if h := e.Held; e.Kind != events.PruneHeld || h == nil || h.VMName != "vm" || h.Removed != 3 || h.Points != 5 {
			t.Errorf("the event is %+v", e)
		}
	}
	wantEvent(<-stream)
	late, err := w.Agent.Watch(ctx, events.Query{Prunes: true})
	agenttest.Must(t, err)
	wantEvent(<-late) // the state when the watch begins
	w.WantSeries(w.Scrape(), agenttest.Series{"sendense_prune_holds_total": 1})
	w.Stop()
	w.Start()
	held(3)
	if done := w.Prune(prune.Request{VMName: "vm"}); done.Removed != 3 || len(done.Held) != 0 || w.Chains.There(points) != "- - - there there" {
		t.Errorf("by hand: %+v, there: %s", done, w.Chains.There(points))
	}
	held(0)
}
