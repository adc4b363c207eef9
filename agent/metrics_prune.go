package agent

// pruned counts a run in which the policies were applied.
func (m *metrics) pruned(r PruneReport, err error) {
	result := "done"
	if err != nil || r.Failed > 0 {
		result = "failed"
	}
	m.pruneRuns.WithLabelValues(result).Inc()
	m.pruneRemoved.Add(float64(r.Removed))
	m.pruneFreed.Add(float64(max(r.FreedBytes, 0)))
	m.pruneFailures.Add(float64(r.Failed))
}
