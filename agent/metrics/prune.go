package metrics

// Pruned counts a run in which the policies were applied.
func (m *Counters) Pruned(removed, failed int, freedBytes int64, err error) {
	result := "done"
	if err != nil || failed > 0 {
		result = "failed"
	}
	m.PruneRuns.WithLabelValues(result).Inc()
	m.PruneRemoved.Add(float64(removed))
	m.PruneFreed.Add(float64(max(freedBytes, 0)))
	m.PruneFailures.Add(float64(failed))
}
