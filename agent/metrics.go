package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/sna"
)

// metrics counts what happens. What is the case at a moment is not kept here: see scrape. docs/metrics.md describes them.
type metrics struct {
	ended        *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	startPhase   *prometheus.HistogramVec
	snaCalls     *prometheus.CounterVec
	transactions prometheus.Histogram
}

// The phases of a start.
const (
	phaseQueue   = "queue"   // from the request to its turn, of a backup that was queued
	phasePrepare = "prepare" // the record and the leases
	phaseExport  = "export"  // images and exporters
	phaseCall    = "call"    // the request to the SNA, whatever became of it
)

var (
	phaseBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200}
	copyBuckets  = []float64{10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 57600, 86400, 172800}
	writeBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
)

func newMetrics() *metrics {
	m := &metrics{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sendense_backup_ended_total",
			Help: "Backups that have ended, by type and result (completed, failed, cancelled).",
		}, []string{"type", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sendense_backup_duration_seconds",
			Help:    "Time from the request to the SNA to the end of the backup, of those for which the SNA was asked.",
			Buckets: copyBuckets,
		}, []string{"type", "result"}),
		startPhase: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sendense_backup_start_phase_duration_seconds",
			Help:    "Time that the phases of a start took: queue, prepare, export, call.",
			Buckets: phaseBuckets,
		}, []string{"phase"}),
		snaCalls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sendense_agent_sna_calls_total",
			Help: "Starts that the SNA was asked for, by outcome (accepted, refused, unreachable: nothing was sent, unknown).",
		}, []string{"outcome"}),
		transactions: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sendense_agent_store_transaction_duration_seconds",
			Help:    "Time of the database transactions that change the record of a backup, with the wait for other writers.",
			Buckets: writeBuckets,
		}),
	}
	m.initialize()
	return m
}

// initialize brings every series into being with 0, so that the first increase of each is seen as one.
func (m *metrics) initialize() {
	for _, kind := range []backup.Type{backup.Full, backup.Incremental} {
		for _, result := range []backup.State{backup.Completed, backup.Failed, backup.Cancelled} {
			m.ended.WithLabelValues(string(kind), string(result))
			m.duration.WithLabelValues(string(kind), string(result))
		}
	}
	for _, phase := range []string{phaseQueue, phasePrepare, phaseExport, phaseCall} {
		m.startPhase.WithLabelValues(phase)
	}
	for _, outcome := range []string{"accepted", "refused", "unreachable", "unknown"} {
		m.snaCalls.WithLabelValues(outcome)
	}
}

// register registers what is counted and what is read at a scrape.
func (a *Agent) register(r prometheus.Registerer) error {
	m := a.metrics
	for _, c := range []prometheus.Collector{m.ended, m.duration, m.startPhase, m.snaCalls, m.transactions, newScrape(a)} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

// transition counts a backup that has ended.
func (m *metrics) transition(before, after backup.Backup) {
	if before.State == after.State || after.State.Active() {
		return
	}
	kind, result := string(after.Type), string(after.State)
	m.ended.WithLabelValues(kind, result).Inc()
	if !after.CalledAt.IsZero() {
		m.duration.WithLabelValues(kind, result).Observe(after.EndedAt.Sub(after.CalledAt).Seconds())
	}
}

// phase records how long a phase of a start took that began at the time given.
func (m *metrics) phase(phase string, since time.Time) {
	m.startPhase.WithLabelValues(phase).Observe(time.Since(since).Seconds())
}

// transaction records how long a transaction took that was asked for at the time given.
func (m *metrics) transaction(since time.Time) { m.transactions.Observe(time.Since(since).Seconds()) }

// called records the one request to the SNA, which left at the time given, by what became of it.
func (m *metrics) called(since time.Time, err error) {
	m.phase(phaseCall, since)
	var (
		unknown *sna.OutcomeUnknownError
		refused *sna.RefusedError
		outcome = "unreachable"
	)
	switch {
	case err == nil:
		outcome = "accepted"
	case errors.As(err, &unknown):
		outcome = "unknown"
	case errors.As(err, &refused):
		outcome = "refused"
	}
	m.snaCalls.WithLabelValues(outcome).Inc()
}
