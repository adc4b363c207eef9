package agent

import (
	"github.com/prometheus/client_golang/prometheus"
)

var (
	descPruneHeld = prometheus.NewDesc("sendense_prune_held_restore_points",
		"Restore points of a VM in a repository that a held prune would remove.",
		[]string{"vm", "repository"}, nil)
	descFuturePoints = prometheus.NewDesc("sendense_agent_future_restore_points",
		"Restore points dated in the future by a wrong clock. They count for no retention rule and no age.", nil, nil)
)

// clock reports held prunes and restore points dated in the future. It reads the end of one index, however many restore points
// there are.
func (sc *scrape) clock() ([]prometheus.Metric, error) {
	held, err := sc.agent.Policies.HeldPrunes()
	if err != nil {
		return nil, err
	}
	_, future, err := sc.agent.Records.FuturePoints()
	if err != nil {
		return nil, err
	}
	list := []prometheus.Metric{gauge(descFuturePoints, float64(future))}
	for _, h := range held[:min(len(held), sc.agent.config.Metrics.MaxVMs)] {
		list = append(list, gauge(descPruneHeld, float64(h.Removed), h.VMName, h.Repository))
	}
	return list, nil
}
