package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// afterBackups makes the metrics of what is done with restore points once they are there: restores, policies, verifications.
func (m *Counters) afterBackups() {
	m.RestoresEnded = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_restore_ended_total",
		Help: "Restores that have ended, by kind (disks, files) and result (ended, failed).",
	}, []string{"kind", "result"})
	m.RestoreFailures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_restore_failures_total",
		Help: "Restores that have failed, by reason, as in the errors of the RPC.",
	}, []string{"reason"})
	m.Rewrites = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_rewrites_total",
		Help: "Restore points that were to be written anew, to take in what they stood on, by result (done, failed).",
	}, []string{"result"})
	m.PruneRuns = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_prune_runs_total",
		Help: "Times that the policies were applied, by result: done, or failed where anything could not be removed.",
	}, []string{"result"})
	m.PruneRemoved = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_prune_removed_total",
		Help: "Restore points that were removed because no policy keeps them.",
	})
	m.PruneFreed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_prune_freed_bytes_total",
		Help: "Room that became free by that, less what merges took.",
	})
	m.PruneFailures = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_prune_failures_total",
		Help: "Restore points that no policy keeps and that could not be removed, each time that it was tried.",
	})
	m.PruneHolds = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_prune_holds_total",
		Help: "Times that a daily run left a VM to a person, because it would have removed too many of its restore points at once.",
	})
	m.VerifyRead = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_verify_read_bytes_total",
		Help: "Bytes of images that were read to compare them with their digests, holes counted.",
	})
	m.Verifications = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_verify_restore_points_total",
		Help: "Restore points that were verified, by depth (shallow, deep) and result (ok, damaged, incomplete: not all could be looked at or compared).",
	}, []string{"depth", "result"})
}
