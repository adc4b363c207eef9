package metrics

// Pruned counts a prune run: how many restore points it removed, how many it could not remove, and the bytes that it freed. freedBytes
// below 0, from merges that grew more, counts as 0. err is why the run stopped early.
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
