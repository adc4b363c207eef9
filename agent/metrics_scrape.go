package agent

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/probe"
	"github.com/sendense/backup-agent/agent/storage"
)

// A scrape collects the gauges when Prometheus asks: from the database, from systemd and from the repositories, all at the same time and
// each within probe.Timeout. A source that cannot be read is left out, and sendense_agent_scrape_error reports it.
type scrape struct {
	agent   *Agent
	sources []source
	flights singleflight.Group

	mu      sync.Mutex
	failing map[string]bool
}

// A source is one thing that a scrape reads.
type source struct {
	name   string
	read   func(context.Context) ([]prometheus.Metric, error)
	failed []prometheus.Metric // reported when the source cannot be read
}

func newScrape(a *Agent) *scrape {
	s := &scrape{agent: a, failing: map[string]bool{}}
	s.sources = []source{
		{name: "database", read: s.database},
		{name: "state", read: s.state, failed: []prometheus.Metric{gauge(descStateWritable, 0)}},
		{name: "ports", read: s.ports},
		{name: "vms", read: s.vms},
		{name: "units", read: s.units},
		{name: "verified", read: s.verified},
		{name: "catalog", read: s.catalog},
		{name: "schedules", read: s.schedules},
	}
	for _, r := range a.Repositories.All {
		s.sources = append(s.sources, source{
			name:   "repository/" + r.ID,
			read:   func(ctx context.Context) ([]prometheus.Metric, error) { return s.repository(ctx, r) },
			failed: []prometheus.Metric{gauge(descRepositoryUp, 0, r.ID), gauge(descRepositoryUsable, 0, r.ID), s.encrypted(r)},
		})
	}
	return s
}

// Describe implements prometheus.Collector.
func (sc *scrape) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descBuild, descError,
		descActive, descActiveInfo, descRestores, descPruned, descPruneHeld, descFuturePoints, descRestoreInfo, descRestoreOverdue, descPorts, descStoreSize,
		descStateWritable, descStateFree, descSetAside,
		descVMs, descVMsOmitted, descVMAdded, descVMInterval, descSnapshot, descLastSuccess, descLastReceived, descLastSize,
		descDamaged, descVerifyInterval, descVerifyOldest, descVerifyLast, descVerifyOK,
		descExports, descReceived, descOrphans,
		descCatalogDifferences, descCatalogCompared,
		descVMsUngrouped, descVMsMissing, descScheduleNext, descScheduleLast, descScheduleLastGood, descSchedulePaused, descRunVMs,
		descRepositoryFree, descRepositorySize, descRepositoryUp, descRepositoryUsable, descRepositoryEncrypted, descRepositoryPaused,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (sc *scrape) Collect(ch chan<- prometheus.Metric) {
	ch <- gauge(descBuild, 1, sc.agent.version, runtime.Version())
	var wait sync.WaitGroup
	for _, from := range sc.sources {
		wait.Go(func() {
			list, err := probe.Do(context.Background(), &sc.flights, from.name, from.read)
			failed := 0.0
			if err != nil {
				list, failed = from.failed, 1
			}
			sc.tell(from.name, err)
			for _, m := range list {
				ch <- m
			}
			ch <- gauge(descError, failed, from.name)
		})
	}
	wait.Wait()
}

// tell logs that a source cannot be read, once until it can be read again.
func (sc *scrape) tell(name string, err error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if err != nil && !sc.failing[name] {
		sc.agent.log.Warn("metrics are missing", logkey.Source, name, logkey.Error, err)
	}
	sc.failing[name] = err != nil
}

var (
	descRepositoryFree = prometheus.NewDesc("sendense_agent_repository_free_bytes",
		"Bytes that may still be written to the file system of a repository.", []string{"repository"}, nil)
	descRepositorySize = prometheus.NewDesc("sendense_agent_repository_size_bytes",
		"Size of the file system of a repository.", []string{"repository"}, nil)
	descRepositoryUp = prometheus.NewDesc("sendense_agent_repository_up",
		"Whether the file system of a repository answers (1) or not (0).", []string{"repository"}, nil)
	descRepositoryUsable = prometheus.NewDesc("sendense_agent_repository_usable",
		"Whether a repository answers in time and can be written (1) or not (0).", []string{"repository"}, nil)
	descRepositoryEncrypted = prometheus.NewDesc("sendense_agent_repository_encrypted",
		"Whether new images in a repository are encrypted (1) or not (0), by its configuration.", []string{"repository"}, nil)

	descBuild = prometheus.NewDesc("sendense_agent_build_info",
		"Always 1; the labels are the version of the agent and of Go.", []string{"version", "goversion"}, nil)
	descError = prometheus.NewDesc("sendense_agent_scrape_error",
		"1 if a source of the metrics could not be read in time; its metrics are missing.", []string{"source"}, nil)
)

func (sc *scrape) encrypted(r *storage.Repository) prometheus.Metric {
	encrypted := 0.0
	if sc.agent.Repositories.NewKey(r) != "" {
		encrypted = 1
	}
	return gauge(descRepositoryEncrypted, encrypted, r.ID)
}

func (sc *scrape) repository(ctx context.Context, r *storage.Repository) ([]prometheus.Metric, error) {
	status := sc.agent.repositoryStatus(ctx, r)
	if status.State == storage.Stuck {
		return nil, errors.New(status.Error)
	}
	if status.TotalBytes == 0 { // statfs failed
		return []prometheus.Metric{gauge(descRepositoryUp, 1, r.ID), gauge(descRepositoryUsable, 0, r.ID), sc.encrypted(r)}, nil
	}
	usable := 1.0
	if status.Error != "" {
		usable = 0
	}
	return []prometheus.Metric{
		gauge(descRepositoryFree, float64(status.FreeBytes), r.ID),
		gauge(descRepositorySize, float64(status.TotalBytes), r.ID),
		gauge(descRepositoryUp, 1, r.ID),
		gauge(descRepositoryUsable, usable, r.ID),
		sc.encrypted(r),
	}, nil
}

func gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}
