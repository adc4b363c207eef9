package agent_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
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

// TestMetricsOfVMs: each VM has its expected interval, the time since when it is on record, and its newest restore point. A VM that is
// removed from the record has no series.
func TestMetricsOfVMs(t *testing.T) {
	w := agenttest.New(t)
	begun := float64(time.Now().Add(-time.Second).Unix())
	for vm, interval := range map[string]record.Interval{"usual": "", "weekly": "192h", "never": "0s"} {
		_, err := w.Agent.Inventory.Put(record.VM{Name: vm, BackupInterval: interval})
		agenttest.Must(t, err)
	}
	_, sources := w.PutVM("usual", 1<<20)
	s := w.Scrape()
	w.WantSeries(s, agenttest.Series{
		interval("usual"): 26 * 3600, interval("weekly"): 192 * 3600, interval("never"): -1,
		lastSuccess("usual"): -1, `sendense_agent_vms`: 3, `sendense_agent_vms_omitted`: 0,
	})
	for _, vm := range []string{"usual", "weekly", "never"} {
		if at := s[added(vm)]; at < begun || at > float64(time.Now().Unix()+1) {
			t.Errorf("%s was added at %v", vm, at)
		}
	}
	w.Completes(w.StartBackup("usual"), sources)
	again := w.Scrape()
	if again[added("usual")] != s[added("usual")] || again[lastSuccess("usual")] < begun {
		t.Errorf("added at %v and again at %v, last success at %v", s[added("usual")], again[added("usual")], again[lastSuccess("usual")])
	}
	agenttest.Must(t, w.Agent.Inventory.Remove("usual"))
	w.WantSeries(w.Scrape(), agenttest.Series{
		interval("usual"): -1, added("usual"): -1, lastSuccess("usual"): -1, interval("weekly"): 192 * 3600, `sendense_agent_vms`: 2,
	})
}

// TestMetricsOfManyVMs: up to metrics.max_vms VMs have series of their own. The number of the others is reported.
func TestMetricsOfManyVMs(t *testing.T) {
	for _, c := range []struct{ most, series int }{{0, 0}, {3, 3}, {1100, 1003}} {
		w := agenttest.New(t, func(cfg *config.Config, _ *snatest.Options) {
			cfg.Metrics.MaxVMs, cfg.Metrics.BackupInterval = c.most, config.DurationOf(0)
		})
		for i := range 1003 { // more than one page
			_, err := w.Store.PutVM(record.VM{Name: fmt.Sprintf("vm-%04d", i)})
			agenttest.Must(t, err)
		}
		s := w.Scrape()
		shown := 0
		for i := range 1003 {
			name := fmt.Sprintf("vm-%04d", i)
			if at, ok := s[added(name)]; ok {
				shown++
				if i != shown-1 || at != 0 { // not known for these VMs
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
		w.WantSeries(s, agenttest.Series{`sendense_agent_vms`: 1003, `sendense_agent_vms_omitted`: float64(1003 - c.series)})
	}
}

// TestMetricsOfCrashes: an exporter that the agent did not end is counted as such, however it ended.
func TestMetricsOfCrashes(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.SNA.Cooldown = config.DurationOf(0) })
	w.PutVM("vm", 8<<20)
	for _, c := range []struct {
		result string
		signal syscall.Signal
	}{{"signal", syscall.SIGKILL}, {"stopped", syscall.SIGTERM}} {
		w.FailsWhile("copy/0", func(b record.Backup) { agenttest.Must(t, syscall.Kill(b.Runs[0].PID, c.signal)) }, fault.ExporterFailed)
		w.WantSeries(w.Scrape(), agenttest.Series{fmt.Sprintf("sendense_agent_exporters_ended_total{result=%q}", c.result): 1})
	}
	w.WantSeries(w.Scrape(), agenttest.Series{
		`sendense_agent_exporters_ended_total{result="success"}`:   0,
		`sendense_backup_failures_total{reason="exporter_failed"}`: 2,
	})
}

// TestMetricsOfSnapshots: a VM whose snapshot may remain is reported until its next restore point. A backup that never reached a client
// says nothing about a snapshot.
func TestMetricsOfSnapshots(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, o *snatest.Options) {
		c.SNA.Cooldown, c.Deadlines.ClientGone = config.DurationOf(0), config.DurationOf(2*time.Second)
		o.SnapshotBeforeAnswer = false
	})
	_, sources := w.PutVM("vm", 8<<20, 8<<20)
	w.PutVM("other", 1<<20)
	remains := func(want float64) {
		t.Helper()
		w.WantSeries(w.Scrape(), agenttest.Series{
			`sendense_backup_snapshot_may_remain{vm="vm"}`: want, `sendense_backup_snapshot_may_remain{vm="other"}`: 0,
		})
	}
	remains(0)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{DieInDisks: []int{0}}))
	w.Wait(w.StartBackup("vm").ID)
	remains(1)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{Answer: snatest.AnswerRefuse, Status: 500, Text: "no"}))
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	agenttest.WantError(t, err, fault.SNARefused, "no")
	remains(1)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{}))
	w.Completes(w.StartBackup("vm"), sources)
	remains(0)
}

// TestMetricsOfSnapshotsAndAWrongClock: a restore point dated in the future does not hide a snapshot that a later backup may have left. A
// restore point that was made last reports that none is left.
func TestMetricsOfSnapshotsAndAWrongClock(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, o *snatest.Options) {
		c.SNA.Cooldown, c.Deadlines.ClientGone = config.DurationOf(0), config.DurationOf(2*time.Second)
		o.SnapshotBeforeAnswer = false
	})
	w.PutVM("vm", 8<<20)
	w.Redated(fiveYears, w.Point("vm", record.Full))
	remains := func(want float64) {
		t.Helper()
		w.WantSeries(w.Scrape(), agenttest.Series{`sendense_backup_snapshot_may_remain{vm="vm"}`: want})
	}
	remains(0)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{DieInDisks: []int{0}}))
	if b := w.Wait(w.StartBackup("vm").ID); b.State != record.Failed || !b.SnapshotMayRemain {
		t.Fatalf("%s: %+v", b.State, b.Failure)
	}
	remains(1)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{}))
	w.Point("vm", record.Full)
	remains(0)
}
