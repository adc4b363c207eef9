package metrics

// DepthOf returns the label of a verification's depth: "shallow" or "deep".
func DepthOf(deep bool) string {
	if deep {
		return "deep"
	}
	return "shallow"
}

// Verified counts a restore point that was verified.
func (m *Counters) Verified(deep bool, result string) {
	m.Verifications.WithLabelValues(DepthOf(deep), result).Inc()
}
