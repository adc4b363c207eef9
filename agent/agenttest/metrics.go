package agenttest

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// Series are the samples of one scrape, by name and labels as Prometheus writes them.
type Series map[string]float64

// Scrape reads the agent's metrics as Prometheus does, and checks that they follow its conventions.
func (w *World) Scrape() Series {
	w.Helper()
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(w.gather, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		w.Fatalf("scrape: %d %s", answer.Code, answer.Body)
	}
	problems, err := promlint.New(bytes.NewReader(answer.Body.Bytes())).Lint() // as "promtool check metrics" does
	Must(w.TB, err)
	for _, p := range problems {
		w.Errorf("%s: %s", p.Metric, p.Text)
	}
	s := Series{}
	for line := range strings.Lines(answer.Body.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.TrimSpace(line)
		end := strings.LastIndexByte(line, ' ')
		s[line[:end]], err = strconv.ParseFloat(line[end+1:], 64)
		Must(w.TB, err)
	}
	return s
}

// WantSeries fails the test unless the series have these values. A negative value means that the series must not exist.
func (w *World) WantSeries(s Series, want Series) {
	w.Helper()
	for name, value := range want {
		got, ok := s[name]
		switch {
		case value < 0 && ok:
			w.Errorf("%s is %v, want no such series", name, got)
		case value >= 0 && !ok:
			w.Errorf("%s is missing, want %v", name, value)
		case value >= 0 && got != value:
			w.Errorf("%s is %v, want %v", name, got, value)
		}
	}
}
