package hub

import (
	"fmt"
	"net/http"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
)

// scraped are the daemon's metric families.
type scraped map[string]*dto.MetricFamily

func scrape() (scraped, error) {
	resp, err := http.Get(metricsURL)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(resp.Body)
}

// gauge is the value of a metric without labels.
func (s scraped) gauge(name string) (float64, error) {
	family := s[name]
	if family == nil || len(family.Metric) != 1 {
		return 0, fmt.Errorf("the daemon does not report %s", name)
	}
	m := family.Metric[0]
	return m.GetGauge().GetValue() + m.GetCounter().GetValue(), nil
}

// phaseTimes are the sums and counts of the daemon's histograms of a start's phases.
type phaseTimes map[string]struct {
	seconds float64
	count   uint64
}

// Families and phases, in the order in which a start passes through them.
var startPhases = []struct{ family, phase, told string }{
	{"sendense_backup_start_phase_duration_seconds", "validate", "validate"},
	{"sendense_backup_start_phase_duration_seconds", "prepare", "lease"},
	{"sendense_backup_start_phase_duration_seconds", "export", "export in all"},
	{"sendense_backup_disk_start_phase_duration_seconds", "image", "image of a disk"},
	{"sendense_backup_disk_start_phase_duration_seconds", "unit", "unit of a disk"},
	{"sendense_backup_disk_start_phase_duration_seconds", "handshake", "handshake of a disk"},
	{"sendense_backup_start_phase_duration_seconds", "call", "SNA"},
}

// Phases reads how long the phases of starts took, by the agent's own clock.
func Phases() (phaseTimes, error) {
	all, err := scrape()
	if err != nil {
		return nil, err
	}
	t := phaseTimes{}
	for _, p := range startPhases {
		family := all[p.family]
		if family == nil {
			return nil, fmt.Errorf("the daemon does not report %s", p.family)
		}
		for _, m := range family.Metric {
			if m.Label[0].GetValue() == p.phase {
				entry := t[p.told]
				entry.seconds, entry.count = m.Histogram.GetSampleSum(), m.Histogram.GetSampleCount()
				t[p.told] = entry
			}
		}
	}
	return t, nil
}

// Since returns the mean time of each phase since an earlier reading.
func (t phaseTimes) Since(before phaseTimes) string {
	var parts []string
	for _, p := range startPhases {
		now, then := t[p.told], before[p.told]
		if n := now.count - then.count; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s ms", p.told, figures.Figure((now.seconds-then.seconds)/float64(n)*1e3)))
		}
	}
	return strings.Join(parts, ", ")
}
