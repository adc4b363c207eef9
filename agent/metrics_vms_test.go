package agent_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

func added(vm string) string {
	return fmt.Sprintf("sendense_agent_vm_added_timestamp_seconds{vm=%q}", vm)
}

func interval(vm string) string {
	return fmt.Sprintf("sendense_agent_vm_backup_interval_seconds{vm=%q}", vm)
}

func lastSuccess(vm string) string {
	return fmt.Sprintf(`sendense_backup_last_success_timestamp_seconds{repository="main",vm=%q}`, vm)
}

// TestMetricsOfVMs: what is expected of each VM, since when it is on record, and what its newest restore point is; and
// nothing any more of one that is taken off the record.
func TestMetricsOfVMs(t *testing.T) {
	w := newWorld(t)
	begun := float64(time.Now().Add(-time.Second).Unix())
	for vm, interval := range map[string]record.Interval{"usual": "", "weekly": "192h", "never": "0s"} {
		_, err := w.agent.PutVM(record.VM{Name: vm, BackupInterval: interval})
		must(t, err)
	}
	_, sources := w.putVM("usual", 1<<20)
	s := w.scrape()
	w.wantSeries(s, series{
		interval("usual"): 26 * 3600, interval("weekly"): 192 * 3600, interval("never"): -1,
		lastSuccess("usual"): -1, `sendense_agent_vms`: 3, `sendense_agent_vms_omitted`: 0,
	})
	for _, vm := range []string{"usual", "weekly", "never"} {
		if at := s[added(vm)]; at < begun || at > float64(time.Now().Unix()+1) {
			t.Errorf("%s was added at %v", vm, at)
		}
	}
	w.completes(w.startBackup("usual"), sources)
	again := w.scrape()
	if again[added("usual")] != s[added("usual")] || again[lastSuccess("usual")] < begun {
		t.Errorf("added at %v and again at %v, last success at %v", s[added("usual")], again[added("usual")], again[lastSuccess("usual")])
	}
	must(t, w.agent.RemoveVM("usual"))
	w.wantSeries(w.scrape(), series{
		interval("usual"): -1, added("usual"): -1, lastSuccess("usual"): -1, interval("weekly"): 192 * 3600, `sendense_agent_vms`: 2,
	})
}

// TestMetricsOfManyVMs: as many as metrics.max_vms have series of their own, and how many have not is told.
func TestMetricsOfManyVMs(t *testing.T) {
	for _, c := range []struct{ most, series int }{{0, 0}, {3, 3}, {1100, 1003}} {
		w := newWorld(t, func(cfg *config.Config, _ *snatest.Options) {
			cfg.Metrics.MaxVMs, cfg.Metrics.BackupInterval = c.most, config.DurationOf(0)
		})
		for i := range 1003 { // more than a page
			_, err := w.store.PutVM(record.VM{Name: fmt.Sprintf("vm-%04d", i)})
			must(t, err)
		}
		s := w.scrape()
		shown := 0
		for i := range 1003 {
			name := fmt.Sprintf("vm-%04d", i)
			if at, ok := s[added(name)]; ok {
				shown++
				if i != shown-1 || at != 0 { // of these it is not known
					t.Errorf("%s is shown after %d others, as added at %v", name, shown-1, at)
				}
			}
			if _, ok := s[interval(name)]; ok {
				t.Fatalf("%s is expected to be backed up", name)
			}
		}
		if shown != c.series {
			t.Errorf("max_vms %d: %d are shown, want %d", c.most, shown, c.series)
		}
		w.wantSeries(s, series{`sendense_agent_vms`: 1003, `sendense_agent_vms_omitted`: float64(1003 - c.series)})
	}
}

// TestMetricsOfCrashes: an exporter that nobody asked to end is seen in the metrics, however it ended.
func TestMetricsOfCrashes(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.SNA.Cooldown = config.DurationOf(0) })
	w.putVM("vm", 8<<20)
	for _, c := range []struct {
		result string
		signal syscall.Signal
	}{{"signal", syscall.SIGKILL}, {"stopped", syscall.SIGTERM}} {
		w.failsWhile("copy/0", func(b record.Backup) { must(t, syscall.Kill(b.Runs[0].PID, c.signal)) }, agent.ExporterFailed)
		w.wantSeries(w.scrape(), series{fmt.Sprintf("sendense_agent_exporters_ended_total{result=%q}", c.result): 1})
	}
	w.wantSeries(w.scrape(), series{
		`sendense_agent_exporters_ended_total{result="success"}`:   0,
		`sendense_backup_failures_total{reason="exporter_failed"}`: 2,
	})
}

// TestMetricsOfSnapshots: a VM whose snapshot may be left is one until its next restore point; a backup that never came to a client
// says nothing of it.
func TestMetricsOfSnapshots(t *testing.T) {
	w := newWorld(t, func(c *config.Config, o *snatest.Options) {
		c.SNA.Cooldown, c.Deadlines.ClientGone = config.DurationOf(0), config.DurationOf(2*time.Second)
		o.SnapshotBeforeAnswer = false
	})
	_, sources := w.putVM("vm", 8<<20, 8<<20)
	w.putVM("other", 1<<20)
	remains := func(want float64) {
		t.Helper()
		w.wantSeries(w.scrape(), series{
			`sendense_backup_snapshot_may_remain{vm="vm"}`: want, `sendense_backup_snapshot_may_remain{vm="other"}`: 0,
		})
	}
	remains(0)
	must(t, w.sna.SetFaults(snatest.Faults{DieInDisks: []int{0}}))
	w.wait(w.startBackup("vm").ID)
	remains(1)
	must(t, w.sna.SetFaults(snatest.Faults{Answer: snatest.AnswerRefuse, Status: 500, Text: "no"}))
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	wantError(t, err, agent.SNARefused, "no")
	remains(1)
	must(t, w.sna.SetFaults(snatest.Faults{}))
	w.completes(w.startBackup("vm"), sources)
	remains(0)
}

// TestMetricsOfSnapshotsAndAWrongClock: a restore point that is dated in the future hides no snapshot that a later backup may have
// left, and one that was made last says that none is left.
func TestMetricsOfSnapshotsAndAWrongClock(t *testing.T) {
	w := newWorld(t, func(c *config.Config, o *snatest.Options) {
		c.SNA.Cooldown, c.Deadlines.ClientGone = config.DurationOf(0), config.DurationOf(2*time.Second)
		o.SnapshotBeforeAnswer = false
	})
	w.putVM("vm", 8<<20)
	w.redated(fiveYears, w.point("vm", record.Full))
	remains := func(want float64) {
		t.Helper()
		w.wantSeries(w.scrape(), series{`sendense_backup_snapshot_may_remain{vm="vm"}`: want})
	}
	remains(0)
	must(t, w.sna.SetFaults(snatest.Faults{DieInDisks: []int{0}}))
	if b := w.wait(w.startBackup("vm").ID); b.State != record.Failed || !b.SnapshotMayRemain {
		t.Fatalf("%s: %+v", b.State, b.Failure)
	}
	remains(1)
	must(t, w.sna.SetFaults(snatest.Faults{}))
	w.point("vm", record.Full)
	remains(0)
}
