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

// scrapeCatalog tells what the last comparisons have found; of a repository that was never compared there is no series.
func (a *Agent) scrapeCatalog(context.Context) (list []prometheus.Metric, _ error) {
	for _, r := range a.Repositories.All {
		s := a.Catalog.States.Of(r.ID)
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
