package verify_test

import (
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/record"
)

// TestVerifySchedule: the schedule verifies every restore point again and again, before a restart and after it. It finds damage, the
// metrics show it, and it is gone when the file is put back.
func TestVerifySchedule(t *testing.T) {
	w := agenttest.New(t, agenttest.Scheduled(0))
	points := w.Chains.TwoDisks()
	read := func(v record.Verification) bool { return !v.DeepAt.IsZero() && len(v.Damage) == 0 }
	for _, p := range points {
		w.Known(p.ID, "a verification by schedule", read)
	}
	image := points[0].Runs[0].Image
	at := agenttest.DataOffset(t, image)
	agenttest.Flip(t, image, at, 5)
	damaged := func(v record.Verification) bool { return len(v.Damage) == 1 && v.Damage[0].Deep }
	w.Known(points[0].ID, "the damage to be found", damaged)
	w.Eventually("the damage to be told", func() bool { return w.Scrape()["sendense_verify_damaged_restore_points"] == 3 }) // also all that is based on it
	w.Stop()
	w.Start()
	w.Known(points[0].ID, "the damage after a restart", damaged)
	b, err := w.Agent.Records.Backup(points[0].ID)
	agenttest.Must(t, err)
	before := b.Verified.DeepAt
	w.Known(points[0].ID, "another verification after a restart", func(v record.Verification) bool { return damaged(v) && v.DeepAt.After(before) })
	agenttest.Flip(t, image, at, 5)
	w.Known(points[0].ID, "the damage to be gone", read)
	s := w.Scrape()
	if s["sendense_verify_interval_seconds{depth=\"deep\"}"] != 1 || s["sendense_verify_oldest_timestamp_seconds{depth=\"deep\"}"] < float64(before.Unix()) {
		t.Errorf("the schedule is told as %v, %v", s["sendense_verify_interval_seconds{depth=\"deep\"}"], s["sendense_verify_oldest_timestamp_seconds{depth=\"deep\"}"])
	}
	if _, there := s["sendense_verify_interval_seconds{depth=\"shallow\"}"]; there {
		t.Error("an interval is told that there is not")
	}
}

// TestVerifyScheduleGivesWay: a deletion does not wait for a verification of the schedule.
func TestVerifyScheduleGivesWay(t *testing.T) {
	w := agenttest.New(t, agenttest.Scheduled(1<<20))
	w.PutVM("vm", 64<<20)
	b := w.Point("vm", record.Full)
	w.Eventually("the schedule to read", func() bool { return w.Scrape()["sendense_verify_read_bytes_total"] > 0 })
	agenttest.Must(t, w.Delete(b.ID))
	w.Gone(b)
}
