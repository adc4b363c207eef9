package agent

import (
	"github.com/prometheus/client_golang/prometheus"
)

var (
	descPruneHeld = prometheus.NewDesc("sendense_prune_held_restore_points",
		"Restore points of a VM in a repository that the daily run would remove, and leaves to a person, because they are too many at once.",
		[]string{"vm", "repository"}, nil)
	descFuturePoints = prometheus.NewDesc("sendense_agent_future_restore_points",
		"Restore points that are dated in the future, because a clock was wrong: they count for no rule and for no age.", nil, nil)
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
