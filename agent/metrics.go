package agent

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// register registers the counters, and the gauges that are read at each scrape.
func (a *Agent) register(r prometheus.Registerer) error {
	m := a.metrics
	for _, c := range []prometheus.Collector{
		m.Ended, m.Failures, m.Duration, m.StartPhase, m.DiskPhase, m.SNACalls, m.RefreshFailures, m.ExportersEnded, m.Orphans, m.Transactions,
		m.RestoresEnded, m.RestoreFailures, m.VerifyRead, m.Verifications, m.RepositoryOperations, m.CatalogImported, m.CatalogNotImported,
		m.RunsEnded, m.RunVMsEnded,
		m.Merges, m.PruneRuns, m.PruneRemoved, m.PruneFreed, m.Squeezes, m.SqueezeReceived, m.SqueezeKept, m.SqueezeSaved, m.PruneFailures, m.PruneHolds,
		newScrape(a),
	} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}
