package agent

import "github.com/prometheus/client_golang/prometheus"

// afterBackups makes the metrics of what is done with restore points once they are there: restores, policies, verifications.
func (m *metrics) afterBackups() {
	m.restoresEnded = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_restore_ended_total",
		Help: "Restores that have ended, by kind (disks, files) and result (ended, failed).",
	}, []string{"kind", "result"})
	m.restoreFailures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_restore_failures_total",
		Help: "Restores that have failed, by reason, as in the errors of the RPC.",
	}, []string{"reason"})
	m.rewrites = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_rewrites_total",
		Help: "Restore points that were to be written anew, to take in what they stood on, by result (done, failed).",
	}, []string{"result"})
	m.pruneRuns = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_prune_runs_total",
		Help: "Times that the policies were applied, by result: done, or failed where anything could not be removed.",
	}, []string{"result"})
	m.pruneRemoved = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_prune_removed_total",
		Help: "Restore points that were removed because no policy keeps them.",
	})
	m.pruneFreed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_prune_freed_bytes_total",
		Help: "Room that became free by that, less what merges took.",
	})
	m.pruneFailures = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_prune_failures_total",
		Help: "Restore points that no policy keeps and that could not be removed, each time that it was tried.",
	})
	m.pruneHolds = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_prune_holds_total",
		Help: "Times that a daily run left a VM to a person, because it would have removed too many of its restore points at once.",
	})
	m.verifyRead = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_verify_read_bytes_total",
		Help: "Bytes of images that were read to compare them with their digests, holes counted.",
	})
	m.verifications = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_verify_restore_points_total",
		Help: "Restore points that were verified, by depth (shallow, deep) and result (ok, damaged, incomplete: not all could be looked at or compared).",
	}, []string{"depth", "result"})
}
