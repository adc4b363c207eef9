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

// scrapeClock tells what wrong clocks have led to, or may have: a look at the end of one list, however many restore points there
// are.
func (a *Agent) scrapeClock() ([]prometheus.Metric, error) {
	held, err := a.Policies.HeldPrunes()
	if err != nil {
		return nil, err
	}
	_, future, err := a.Records.FuturePoints()
	if err != nil {
		return nil, err
	}
	list := []prometheus.Metric{gauge(descFuturePoints, float64(future))}
	for _, h := range held[:min(len(held), a.config.Metrics.MaxVMs)] {
		list = append(list, gauge(descPruneHeld, float64(h.Removed), h.VMName, h.Repository))
	}
	return list, nil
}
