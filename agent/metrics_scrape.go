package agent

import (
	"context"
	"runtime"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/probe"
	"github.com/sendense/backup-agent/agent/repository"
)

// A scrape collects what is the case at the moment it is asked: from the database, from systemd and from the
// repositories, each read at the same time as the others and within probeTimeout. What cannot be read is left out, and
// sendense_agent_scrape_error says so.
type scrape struct {
	agent   *Agent
	sources []source
	flights singleflight.Group

	mu      sync.Mutex
	failing map[string]bool
}

// A source is one thing that is read for a scrape.
type source struct {
	name   string
	read   func(context.Context) ([]prometheus.Metric, error)
	failed []prometheus.Metric // what is true when it cannot be read
}

func newScrape(a *Agent) *scrape {
	s := &scrape{agent: a, failing: map[string]bool{}, sources: []source{
		{name: "database", read: a.scrapeDatabase},
		{name: "state", read: a.scrapeState, failed: []prometheus.Metric{gauge(descStateWritable, 0)}},
		{name: "ports", read: a.scrapePorts},
		{name: "vms", read: a.scrapeVMs},
		{name: "units", read: a.scrapeUnits},
		{name: "verified", read: a.scrapeVerified},
		{name: "catalog", read: a.scrapeCatalog},
	}}
	for _, r := range a.Repositories.All {
		s.sources = append(s.sources, source{
			name:   "repository/" + r.ID,
			read:   func(context.Context) ([]prometheus.Metric, error) { return a.scrapeRepository(r), nil },
			failed: []prometheus.Metric{gauge(descRepositoryUsable, 0, r.ID), a.encryptedGauge(r)},
		})
	}
	return s
}

func (s *scrape) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descBuild, descError,
		descActive, descActiveInfo, descRestores, descPruned, descPruneHeld, descFuturePoints, descRestoreInfo, descRestoreOverdue, descPorts, descStoreSize,
		descStateWritable, descStateFree, descSetAside,
		descVMs, descVMsOmitted, descVMAdded, descVMInterval, descSnapshot, descLastSuccess, descLastReceived, descLastSize,
		descDamaged, descVerifyInterval, descVerifyOldest, descVerifyLast, descVerifyOK,
		descExports, descReceived, descOrphans,
		descCatalogDifferences, descCatalogCompared,
		descRepositoryFree, descRepositorySize, descRepositoryUsable, descRepositoryEncrypted,
	} {
		ch <- d
	}
}

func (s *scrape) Collect(ch chan<- prometheus.Metric) {
	ch <- gauge(descBuild, 1, s.agent.version, runtime.Version())
	var wait sync.WaitGroup
	for _, from := range s.sources {
		wait.Go(func() {
			list, err := probe.Do(context.Background(), &s.flights, from.name, from.read)
			failed := 0.0
			if err != nil {
				list, failed = from.failed, 1
			}
			s.tell(from.name, err)
			for _, m := range list {
				ch <- m
			}
			ch <- gauge(descError, failed, from.name)
		})
	}
	wait.Wait()
}

// tell logs that a source cannot be read, once until it can be again.
func (s *scrape) tell(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && !s.failing[name] {
		s.agent.log.Warn("metrics are missing", logkey.Source, name, logkey.Error, err)
	}
	s.failing[name] = err != nil
}

var (
	descRepositoryFree = prometheus.NewDesc("sendense_agent_repository_free_bytes",
		"Bytes that may still be written to the file system of a repository.", []string{"repository"}, nil)
	descRepositorySize = prometheus.NewDesc("sendense_agent_repository_size_bytes",
		"Size of the file system of a repository.", []string{"repository"}, nil)
	descRepositoryUsable = prometheus.NewDesc("sendense_agent_repository_usable",
		"Whether a repository answers in time and can be written (1) or not (0).", []string{"repository"}, nil)
	descRepositoryEncrypted = prometheus.NewDesc("sendense_agent_repository_encrypted",
		"Whether new images in a repository are encrypted (1) or not (0), by its configuration.", []string{"repository"}, nil)

	descBuild = prometheus.NewDesc("sendense_agent_build_info",
		"Always 1; the labels are the version of the agent and of Go.", []string{"version", "goversion"}, nil)
	descError = prometheus.NewDesc("sendense_agent_scrape_error",
		"1 if a source of the metrics could not be read in time; its metrics are missing.", []string{"source"}, nil)
)

func (a *Agent) encryptedGauge(r *repository.Repository) prometheus.Metric {
	encrypted := 0.0
	if a.Repositories.NewKey(r) != "" {
		encrypted = 1
	}
	return gauge(descRepositoryEncrypted, encrypted, r.ID)
}

func (a *Agent) scrapeRepository(r *repository.Repository) []prometheus.Metric {
	status := a.repositoryStatus(r)
	if status.TotalBytes == 0 { // statfs failed
		return []prometheus.Metric{gauge(descRepositoryUsable, 0, r.ID), a.encryptedGauge(r)}
	}
	usable := 1.0
	if status.Error != "" {
		usable = 0
	}
	return []prometheus.Metric{
		gauge(descRepositoryFree, float64(status.FreeBytes), r.ID),
		gauge(descRepositorySize, float64(status.TotalBytes), r.ID),
		gauge(descRepositoryUsable, usable, r.ID),
		a.encryptedGauge(r),
	}
}

func gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}
