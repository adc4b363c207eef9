package agent_test

import (
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// scheduled has restore points read whole every second.
func scheduled(rate int64) func(*config.Config, *snatest.Options) {
	return func(c *config.Config, _ *snatest.Options) {
		c.Verify = config.Verify{DeepInterval: config.DurationOf(time.Second), RateLimit: config.SizeOf(rate)}
	}
}

// known waits until what is on record of a restore point's files is what is wanted.
func (w *world) known(id string, what string, holds func(v record.Verification) bool) {
	w.Helper()
	w.eventually(what, func() bool {
		b, err := w.agent.Backup(id)
		must(w.TB, err)
		return b.Verified != nil && holds(*b.Verified)
	})
}

// TestVerifySchedule: every restore point is verified by itself, again and again, before a restart and after it; damage is found,
// told to Prometheus, and gone when the file is put back.
func TestVerifySchedule(t *testing.T) {
	w := newWorld(t, scheduled(0))
	points := w.chain()
	read := func(v record.Verification) bool { return !v.DeepAt.IsZero() && len(v.Damage) == 0 }
	for _, p := range points {
		w.known(p.ID, "a verification by schedule", read)
	}
	image := points[0].Runs[0].Image
	at := dataOffset(t, image)
	flip(t, image, at, 5)
	damaged := func(v record.Verification) bool { return len(v.Damage) == 1 && v.Damage[0].Deep }
	w.known(points[0].ID, "the damage to be found", damaged)
	w.eventually("the damage to be told", func() bool { return w.scrape()["sendense_verify_damaged_restore_points"] == 3 }) // all that stands on it, too
	w.stop()
	w.start()
	w.known(points[0].ID, "the damage after a restart", damaged)
	b, err := w.agent.Backup(points[0].ID)
	must(t, err)
	before := b.Verified.DeepAt
	w.known(points[0].ID, "another verification after a restart", func(v record.Verification) bool { return damaged(v) && v.DeepAt.After(before) })
	flip(t, image, at, 5)
	w.known(points[0].ID, "the damage to be gone", read)
	s := w.scrape()
	if s["sendense_verify_interval_seconds{depth=\"deep\"}"] != 1 || s["sendense_verify_oldest_timestamp_seconds{depth=\"deep\"}"] < float64(before.Unix()) {
		t.Errorf("the schedule is told as %v, %v", s["sendense_verify_interval_seconds{depth=\"deep\"}"], s["sendense_verify_oldest_timestamp_seconds{depth=\"deep\"}"])
	}
	if _, there := s["sendense_verify_interval_seconds{depth=\"shallow\"}"]; there {
		t.Error("an interval is told that there is not")
	}
}

// TestVerifyScheduleGivesWay: a deletion does not wait for a verification that nobody has asked for.
func TestVerifyScheduleGivesWay(t *testing.T) {
	w := newWorld(t, scheduled(1<<20))
	w.putVM("vm", 64<<20)
	b := w.point("vm", record.Full)
	w.eventually("the schedule to read", func() bool { return w.scrape()["sendense_verify_read_bytes_total"] > 0 })
	must(t, w.delete(b.ID))
	w.gone(b)
}
