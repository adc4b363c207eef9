package agent

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/rebuild"
)

var (
	descCatalogDifferences = prometheus.NewDesc("sendense_catalog_differences",
		"Restore points on which catalog and repository disagreed at the last comparison, by kind.", []string{"repository", "kind"}, nil)
	descCatalogCompared = prometheus.NewDesc("sendense_catalog_compared_timestamp_seconds",
		"Time of the last comparison of catalog and repository, as Unix time.", []string{"repository"}, nil)
)

// catalog reports the last comparison of each repository with the catalog. A repository that was never compared has no series.
func (sc *scrape) catalog(context.Context) (list []prometheus.Metric, _ error) {
	for _, r := range sc.agent.Repositories.All {
		s := sc.agent.Catalog.States.Of(r.ID)
		if s.At.IsZero() {
			continue
		}
		list = append(list, gauge(descCatalogCompared, unixTime(s.At), r.ID))
		for _, kind := range rebuild.Kinds {
			list = append(list, gauge(descCatalogDifferences, float64(s.Count(kind)), r.ID, string(kind)))
		}
	}
	return list, nil
}
