package agent_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// redated has the clock have been wrong when restore points were made, as far as their manifests tell, and the database been lost
// since: what the agent knows is what a rebuild makes of the manifests.
func (w *world) redated(by time.Duration, points ...record.Backup) {
	w.Helper()
	manifests := make([]manifest.Manifest, len(points))
	for i, b := range points {
		manifests[i] = w.manifest(b)
	}
	w.stop()
	for i, m := range manifests {
		m.CreatedAt, m.CompletedAt, m.Digest = m.CreatedAt.Add(by), m.CompletedAt.Add(by), ""
		text, err := m.Encode()
		must(w.TB, err)
		path := filepath.Join(points[i].Directory, manifest.FileName)
		must(w.TB, os.WriteFile(path+".new", text, 0o444))
		must(w.TB, os.Rename(path+".new", path))
	}
	repo := w.config.Repositories[0]
	database := filepath.Join(w.config.Agent.StateDirectory, "agent.db")
	must(w.TB, os.Remove(database))
	report, _, err := rebuild.Replace(database, []*repository.Repository{repository.New(repo.ID, repo.Path, nil)}, 0)
	must(w.TB, err)
	if len(report.Problems) > 0 {
		w.Fatalf("%+v", report.Problems)
	}
	w.start()
}

// doctorSays is what the doctor finds in one of its checks.
func (w *world) doctorSays(check string) (list []doctor.Finding) {
	w.Helper()
	for _, f := range doctor.Live(w.Context(), w.agent).Findings {
		if f.Check == check {
			list = append(list, f)
		}
	}
	return list
}

// warns fails the test unless a warning with these words has been logged.
func warns(t *testing.T, log *lockedBuffer, words ...string) {
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

// TestClockWasAhead: one backup was made while the clock was five years ahead. It costs no other restore point its place; it is no
// age and no verification; it is named wherever somebody looks; and the next incremental stands on what was made last.
func TestClockWasAhead(t *testing.T) {
	w := newWorld(t, withPolicy(config.Policy{KeepWithin: config.AgeOf(30 * 24 * time.Hour)}), scheduled(0))
	_, sources := w.putVM("vm", 16<<20)
	var chain []instant
	for i := range 3 {
		scribble(t, sources[0], int64(i+1)<<20)
		chain = append(chain, instant{w.point("vm", record.Auto), freeze(t, sources)})
	}
	ahead := chain[1].Backup
	var log lockedBuffer
	w.logger = slog.New(slog.NewTextHandler(&log, nil))
	w.redated(fiveYears, ahead)
	warns(t, &log, "a restore point is dated in the future", ahead.ID)
	chain[1].CreatedAt = chain[1].CreatedAt.Add(fiveYears)

	dry := w.prune(agent.PruneRequest{DryRun: true})
	if len(dry.Points) != 1 || dry.Points[0].BackupID != ahead.ID || dry.Points[0].Misdated == "" || dry.Removed != 0 {
		t.Errorf("the dry run says %+v", dry)
	}
	if done := w.prune(agent.PruneRequest{}); done.Removed != 0 || done.Kept != 3 {
		t.Errorf("pruned: %+v", done)
	}
	warns(t, &log, "a restore point counts for no rule", ahead.ID)
	const of = `{repository="main",vm="vm"}`
	rebuilt, err := w.agent.Backup(chain[2].ID)
	must(t, err)
	last := float64(rebuilt.EndedAt.UnixMilli()) / 1000
	w.wantSeries(w.scrape(), series{
		"sendense_agent_future_restore_points":                1,
		"sendense_backup_last_success_timestamp_seconds" + of: last,
	})
	if s := w.agent.Status(t.Context()); s.FuturePoints != 1 || !slices.Contains(s.FutureIDs, ahead.ID) {
		t.Errorf("the status says %d, %v", s.FuturePoints, s.FutureIDs)
	}
	if found := w.doctorSays("dates"); len(found) != 1 || found[0].Status != doctor.Warning || !strings.Contains(found[0].Message, ahead.ID) || found[0].Hint == "" {
		t.Errorf("the doctor says %+v", found)
	}
	w.known(ahead.ID, "a verification by schedule", func(v record.Verification) bool { return !v.DeepAt.IsZero() && v.DeepAt.Before(time.Now()) })

	scribble(t, sources[0], 9<<20)
	next := instant{w.point("vm", record.Incremental), freeze(t, sources)}
	if next.Parent != chain[2].ID || next.Sequence <= chain[2].Sequence {
		t.Errorf("the next one stands on %s, sequence %d after %d", next.Parent, next.Sequence, chain[2].Sequence)
	}
	points, err := w.agent.Chain("vm", "main")
	must(t, err)
	for i, want := range append(chain, next) {
		if points[i].Backup.ID != want.ID {
			t.Errorf("point %d of the chain is %s, want %s", i, points[i].Backup.ID, want.ID)
		}
	}
	w.whole(append(chain, next)...)
}

// TestClockWasAheadForAll: a VM all of whose restore points are dated in the future has no last success, so that it is late by when
// it was put on record; the one that was made last is still what the next stands on.
func TestClockWasAheadForAll(t *testing.T) {
	w := newWorld(t, scheduled(0))
	w.putVM("vm", 4<<20)
	full := w.point("vm", record.Full)
	w.redated(fiveYears, full)
	const of = `{repository="main",vm="vm"}`
	w.wantSeries(w.scrape(), series{
		"sendense_backup_last_success_timestamp_seconds" + of:       -1,
		"sendense_backup_last_success_size_bytes" + of:              4 << 20,
		`sendense_verify_oldest_timestamp_seconds{depth="shallow"}`: 0,
	})
	if next := w.point("vm", record.Incremental); next.Parent != full.ID {
		t.Errorf("the next one stands on %s", next.Parent)
	}
}

// TestPruneIsHeld: a daily run that would remove most of a VM's restore points removes none and says so until a person has it
// done, across a restart of the daemon, too; it does what is to be done for another VM.
func TestPruneIsHeld(t *testing.T) {
	w := newWorld(t, withPolicy(config.Policy{KeepLast: 2}), func(c *config.Config, _ *snatest.Options) {
		c.Prune.At = time.Now().Add(12 * time.Hour).Format("15:04") // the test is the schedule
	})
	w.putVM("vm", 1<<20)
	w.putVM("few", 1<<20)
	var chain, few []instant
	for range 5 {
		chain = append(chain, instant{Backup: w.point("vm", record.Full)})
	}
	for range 3 {
		few = append(few, instant{Backup: w.point("few", record.Full)})
	}
	held := func(want int) {
		t.Helper()
		value := float64(want)
		if want == 0 {
			value = -1
		}
		w.wantSeries(w.scrape(), series{`sendense_prune_held_restore_points{repository="main",vm="vm"}`: value})
		status := w.agent.Status(t.Context()).HeldPrunes
		if got := len(status) == 1 && status[0].VMName == "vm" && status[0].Removed == want && status[0].Points == 5; got != (want > 0) {
			t.Errorf("the status says %+v", status)
		}
		found := w.doctorSays("prune")
		if len(found) != 1 || (found[0].Status == doctor.Warning) != (want > 0) {
			t.Errorf("the doctor says %+v", found)
		}
	}
	held(0)
	if dry := w.prune(agent.PruneRequest{DryRun: true}); len(dry.Held) != 1 || dry.Held[0].Removed != 3 || dry.Held[0].Points != 5 || dry.Removed != 4 {
		t.Errorf("the dry run says %+v", dry)
	}
	held(0) // a dry run leaves nothing
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := w.agent.Watch(ctx, agent.WatchQuery{VMName: "vm", Prunes: true})
	must(t, err)
	run := w.prune(agent.PruneRequest{Scheduled: true})
	if run.Removed != 1 || run.Kept != 7 || len(run.Held) != 1 || w.there(chain) != "there there there there there" || w.there(few) != "- there there" {
		t.Errorf("%+v; there: %s, %s", run, w.there(chain), w.there(few))
	}
	held(3)
	wantEvent := func(e agent.Event) {
		t.Helper()
		if h := e.Held; e.Kind != agent.EventPruneHeld || h == nil || h.VMName != "vm" || h.Removed != 3 || h.Points != 5 {
			t.Errorf("the event is %+v", e)
		}
	}
	wantEvent(<-events)
	late, err := w.agent.Watch(ctx, agent.WatchQuery{Prunes: true})
	must(t, err)
	wantEvent(<-late) // as things stand when the watch begins
	w.wantSeries(w.scrape(), series{"sendense_prune_holds_total": 1})
	w.stop()
	w.start()
	held(3)
	if done := w.prune(agent.PruneRequest{VMName: "vm"}); done.Removed != 3 || len(done.Held) != 0 || w.there(chain) != "- - - there there" {
		t.Errorf("by hand: %+v, there: %s", done, w.there(chain))
	}
	held(0)
}
