package agent_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/units/pair"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// TestMetricsOfABackup scrapes before, during and after a backup.
func TestMetricsOfABackup(t *testing.T) {
	w := agenttest.New(t)
	ports := w.Config.NBD.LastPort - w.Config.NBD.FirstPort + 1
	_, sources := w.PutVM(`the "vm"`, 8<<20, 4<<20)
	const (
		vm      = `vm="the \"vm\""`
		info    = `sendense_backup_active_info{repository="main",state="running",type="full",` + vm + `}`
		ofDisk1 = `sendense_agent_export_received_bytes_total{disk_id="1",` + vm + `}`
		success = `sendense_backup_last_success_timestamp_seconds{repository="main",` + vm + `}`
		ended   = `sendense_backup_ended_total{result="completed",type="full"}`
	)
	w.WantSeries(w.Scrape(), agenttest.Series{
		`sendense_backup_active{state="running"}`: 0, info: -1, ofDisk1: -1, success: -1, ended: 0,
		`sendense_agent_ports{state="free"}`: float64(ports), `sendense_agent_exports`: 0, `sendense_agent_vms`: 1,
		`sendense_agent_sna_calls_total{outcome="accepted"}`: 0,
	})

	w.SNA.Hold("copy/1")
	b := w.StartBackup(`the "vm"`)
	_, err := w.SNA.WaitHeld(t.Context(), b.ID, "copy/1")
	agenttest.Must(t, err)
	s := w.Scrape()
	w.WantSeries(s, agenttest.Series{
		`sendense_backup_active{state="running"}`: 1, info: 1, success: -1, ended: 0,
		`sendense_agent_ports{state="leased"}`: 2, `sendense_agent_ports{state="free"}`: float64(ports - 2),
		`sendense_agent_exports`: 2, `sendense_agent_orphan_units`: 0,
		`sendense_agent_sna_calls_total{outcome="accepted"}`:                         1,
		`sendense_backup_start_phase_duration_seconds_count{phase="queue"}`:          0,
		`sendense_backup_start_phase_duration_seconds_count{phase="validate"}`:       1,
		`sendense_backup_start_phase_duration_seconds_count{phase="prepare"}`:        1,
		`sendense_backup_start_phase_duration_seconds_count{phase="export"}`:         1,
		`sendense_backup_start_phase_duration_seconds_count{phase="call"}`:           1,
		`sendense_backup_disk_start_phase_duration_seconds_count{phase="image"}`:     2,
		`sendense_backup_disk_start_phase_duration_seconds_count{phase="unit"}`:      2,
		`sendense_backup_disk_start_phase_duration_seconds_count{phase="handshake"}`: 2,
		`sendense_agent_exporters_ended_total{result="success"}`:                     0,
		`sendense_backup_duration_seconds_count{result="completed",type="full"}`:     0,
		`sendense_agent_scrape_error{source="units"}`:                                0,
		`sendense_agent_build_info{goversion="` + goVersion() + `",version="test"}`:  1,
	})
	if s[ofDisk1] <= 0 {
		t.Errorf("no bytes received on an export that is connected: %v", s[ofDisk1])
	}

	w.SNA.Release("copy/1")
	b = w.Completes(b, sources)
	s = w.Scrape()
	w.WantSeries(s, agenttest.Series{
		`sendense_backup_active{state="running"}`: 0, info: -1, ofDisk1: -1, ended: 1,
		`sendense_backup_duration_seconds_count{result="completed",type="full"}`: 1,
		`sendense_agent_ports{state="free"}`:                                     float64(ports), `sendense_agent_exports`: 0,
		success: float64(b.EndedAt.UnixMilli()) / 1000,
		`sendense_backup_last_success_received_bytes{repository="main",` + vm + `}`: float64(b.Runs[0].ReceivedBytes + b.Runs[1].ReceivedBytes),
		`sendense_backup_last_success_size_bytes{repository="main",` + vm + `}`:     12 << 20,
		`sendense_agent_exporters_ended_total{result="success"}`:                    2,
		`sendense_agent_repository_usable{repository="main"}`:                       1,
		`sendense_agent_vms_omitted`:                                                0,
	})
	for _, positive := range []string{
		`sendense_backup_duration_seconds_sum{result="completed",type="full"}`, `sendense_agent_store_size_bytes`,
		`sendense_agent_store_transaction_duration_seconds_count`,
		`sendense_agent_repository_free_bytes{repository="main"}`, `sendense_agent_repository_size_bytes{repository="main"}`,
	} {
		if s[positive] <= 0 {
			t.Errorf("%s is %v, want more than 0", positive, s[positive])
		}
	}
}

func goVersion() string {
	out, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(out))
}

// TestMetricsOfTheSNA counts starts by outcome, and reports a backup with an unknown outcome as unresolved.
func TestMetricsOfTheSNA(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.SNA.Cooldown = config.DurationOf(time.Hour) })
	for _, vm := range []string{"refused", "unknown"} {
		w.PutVM(vm, 1<<20)
	}
	fails := func(vm string, faults snatest.Faults, reason fault.Reason) string {
		t.Helper()
		agenttest.Must(t, w.SNA.SetFaults(faults))
		_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: vm, Type: record.Full, Repository: "main"})
		return agenttest.WantError(t, err, reason, "").BackupID
	}
	fails("refused", snatest.Faults{Answer: snatest.AnswerRefuse, Status: 500, Text: "no"}, fault.SNARefused)
	id := fails("unknown", snatest.Faults{Answer: snatest.AnswerReset, Inert: true}, fault.SNAOutcomeUnknown)
	w.WantSeries(w.Scrape(), agenttest.Series{
		`sendense_agent_sna_calls_total{outcome="refused"}`:                   1,
		`sendense_agent_sna_calls_total{outcome="unknown"}`:                   1,
		`sendense_agent_sna_calls_total{outcome="accepted"}`:                  0,
		`sendense_backup_start_phase_duration_seconds_count{phase="call"}`:    2,
		`sendense_backup_active{state="unresolved"}`:                          1,
		`sendense_backup_ended_total{result="failed",type="full"}`:            1,
		`sendense_backup_duration_seconds_count{result="failed",type="full"}`: 1,
	})
	_, err := w.Agent.Backups.Cancel(t.Context(), id)
	agenttest.Must(t, err)
	w.Wait(id)
	w.SNA.Close()
	fails("refused", snatest.Faults{}, fault.SNAUnreachable)
	w.WantSeries(w.Scrape(), agenttest.Series{
		`sendense_agent_sna_calls_total{outcome="unreachable"}`:       1,
		`sendense_backup_active{state="unresolved"}`:                  0,
		`sendense_agent_ports{state="cooling"}`:                       1,
		`sendense_backup_ended_total{result="cancelled",type="full"}`: 1,
		`sendense_backup_ended_total{result="failed",type="full"}`:    2,
		`sendense_backup_failures_total{reason="sna_refused"}`:        1,
		`sendense_backup_failures_total{reason="sna_unreachable"}`:    1,
	})
}

// TestMetricsOfTheQueue reports how many backups are queued, and names up to metrics.max_vms of them: a queue may be long.
func TestMetricsOfTheQueue(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxBackups, c.Metrics.MaxVMs = 1, 1 })
	w.SNA.Hold("copy/0")
	var last string
	for _, vm := range []string{"a", "b", "c"} {
		w.PutVM(vm, 1<<20)
		b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: vm, Type: record.Full, Repository: "main", Queue: true})
		agenttest.Must(t, err)
		last = b.ID
	}
	w.WantSeries(w.Scrape(), agenttest.Series{
		`sendense_backup_active{state="queued"}`: 2, `sendense_backup_active{state="running"}`: 1,
		`sendense_backup_active_info{repository="main",state="running",type="full",vm="a"}`: 1,
		`sendense_backup_active_info{repository="main",state="queued",type="full",vm="b"}`:  1,
		`sendense_backup_active_info{repository="main",state="queued",type="full",vm="c"}`:  -1,
	})
	w.SNA.Release("copy/0")
	w.Wait(last)
	w.WantSeries(w.Scrape(), agenttest.Series{
		`sendense_backup_active{state="queued"}`:                              0,
		`sendense_backup_start_phase_duration_seconds_count{phase="queue"}`:   2,
		`sendense_backup_start_phase_duration_seconds_count{phase="prepare"}`: 3,
	})
}

// TestMetricsOfForeignThings reports a port that another process holds, and orphan units.
func TestMetricsOfForeignThings(t *testing.T) {
	w := agenttest.New(t)
	_, sources := w.PutVM("vm", 1<<20)
	occupied, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", w.Config.NBD.FirstPort))
	agenttest.Must(t, err)
	defer occupied.Close()
	outside, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", w.Config.NBD.LastPort)) // does not disturb exports
	agenttest.Must(t, err)
	defer outside.Close()
	w.WantSeries(w.Scrape(), agenttest.Series{`sendense_agent_ports{state="foreign"}`: 1, `sendense_agent_ports{state="free"}`: 100})
	if s := w.Agent.Status(t.Context()); s.PortsForeign != 1 || s.PortsLeased != 0 {
		t.Errorf("status %+v", s)
	}
	w.Completes(w.StartBackup("vm"), sources)
	spec := pair.Spec{Name: "sendense-nbd-lost", Argv: []string{"/bin/true"}, ListenAddress: "127.0.0.1:10300"}
	_, err = w.Units.Start(t.Context(), spec)
	agenttest.Must(t, err)
	w.WantSeries(w.Scrape(), agenttest.Series{
		`sendense_agent_ports{state="foreign"}`: 1, `sendense_agent_orphan_units`: 1, `sendense_agent_exports`: 0,
	})
	agenttest.Must(t, w.Units.Remove(t.Context(), spec.Name))
	w.WantSeries(w.Scrape(), agenttest.Series{`sendense_agent_orphan_units`: 0})
}

// TestScrapeWithoutBus stops the message bus. Metrics that do not need it stay, in time, and one series reports what is missing.
func TestScrapeWithoutBus(t *testing.T) {
	w := agenttest.New(t)
	agenttest.Must(t, w.Agent.Ready(t.Context()))
	out, err := exec.Command("systemctl", "show", "--property=MainPID", "--value", "dbus.service").Output()
	agenttest.Must(t, err)
	bus, err := strconv.Atoi(strings.TrimSpace(string(out)))
	agenttest.Must(t, err)
	systemdtest.StopProcess(t, bus)
	defer func() { agenttest.Must(t, unix.Kill(bus, unix.SIGCONT)) }()
	begun := time.Now()
	w.WantSeries(w.Scrape(), agenttest.Series{
		`sendense_agent_scrape_error{source="units"}`: 1, `sendense_agent_exports`: -1, `sendense_agent_orphan_units`: -1,
		`sendense_agent_scrape_error{source="database"}`: 0, `sendense_backup_active{state="running"}`: 0,
	})
	if err := w.Agent.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "service manager") {
		t.Errorf("ready without a bus: %v", err)
	}
	if took := time.Since(begun); took > time.Minute { // a scrape and Ready, 3 seconds each
		t.Errorf("took %s", took)
	}
	agenttest.Must(t, unix.Kill(bus, unix.SIGCONT))
	w.WantSeries(w.Scrape(), agenttest.Series{`sendense_agent_scrape_error{source="units"}`: 0, `sendense_agent_exports`: 0})
	agenttest.Must(t, w.Agent.Ready(t.Context()))
}

// TestScrapeOfRepositories: one repository is missing, and one hangs as a dead NFS server does. Both leave the third alone.
func TestScrapeOfRepositories(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		for _, id := range []string{"gone", "hung"} {
			c.Repositories = append(c.Repositories, config.Repository{ID: id, Path: c.Repositories[0].Path + "-" + id})
		}
	})
	hang(t, w.Config.Repositories[2].Path)
	want := agenttest.Series{
		`sendense_agent_repository_up{repository="main"}`: 1, `sendense_agent_repository_up{repository="gone"}`: 1, `sendense_agent_repository_up{repository="hung"}`: 0,
		`sendense_agent_repository_usable{repository="main"}`: 1, `sendense_agent_scrape_error{source="repository/main"}`: 0,
		`sendense_agent_repository_usable{repository="gone"}`: 0, `sendense_agent_scrape_error{source="repository/gone"}`: 0,
		`sendense_agent_repository_usable{repository="hung"}`: 0, `sendense_agent_scrape_error{source="repository/hung"}`: 1,
		`sendense_agent_repository_free_bytes{repository="gone"}`: -1, `sendense_agent_repository_free_bytes{repository="hung"}`: -1,
	}
	w.WantSeries(w.Scrape(), want)
	w.WantSeries(w.Scrape(), want)
}

// hang mounts a file system that never answers: a FUSE without its daemon.
func hang(t testing.TB, path string) {
	t.Helper()
	agenttest.Must(t, os.Mkdir(path, 0o755))
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	agenttest.Must(t, err)
	t.Cleanup(func() { // then what hangs fails
		_ = unix.Unmount(path, unix.MNT_DETACH)
		agenttest.Must(t, unix.Close(fd))
	})
	agenttest.Must(t, unix.Mount("hung", path, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)))
}

// TestReady: an agent that is stopping accepts no backups.
func TestReady(t *testing.T) {
	w := agenttest.New(t)
	agenttest.Must(t, w.Agent.Ready(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	agenttest.Must(t, w.Agent.Close(ctx))
	if err := w.Agent.Ready(t.Context()); err == nil {
		t.Error("ready after Close")
	}
}

// TestMetricsTwice: two agents cannot share a registry. New returns an error and does not panic.
func TestMetricsTwice(t *testing.T) {
	cfg := config.Default()
	cfg.Agent.ExporterUser, cfg.Agent.ExporterGroup = "", ""
	registry := prometheus.NewRegistry()
	_, err := agent.New(agent.Options{Config: cfg, Metrics: registry})
	agenttest.Must(t, err)
	if _, err = agent.New(agent.Options{Config: cfg, Metrics: registry}); err == nil {
		t.Error("a second agent on the same registry")
	}
}
