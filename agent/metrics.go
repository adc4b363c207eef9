package agent

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna"
)

// metrics counts what happens. What is the case at a moment is not kept here: see scrape. docs/metrics.md describes them.
type metrics struct {
	ended      *prometheus.CounterVec
	failures   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	startPhase *prometheus.HistogramVec
	diskPhase  *prometheus.HistogramVec
	snaCalls   *prometheus.CounterVec

	refreshFailures prometheus.Counter
	exportersEnded  *prometheus.CounterVec
	orphans         prometheus.Counter
	transactions    prometheus.Histogram
	verifyRead      prometheus.Counter
	verifications   *prometheus.CounterVec

	restoresEnded   *prometheus.CounterVec
	restoreFailures *prometheus.CounterVec
	rewrites        *prometheus.CounterVec
	pruneRuns       *prometheus.CounterVec
	pruneRemoved    prometheus.Counter
	pruneFreed      prometheus.Counter
	pruneFailures   prometheus.Counter
	pruneHolds      prometheus.Counter
}

// The phases of a start.
const (
	phaseValidate = "validate" // what is known before anything is touched; the SNA may be asked for the VM's disks
	phaseQueue    = "queue"    // from the request to its turn, of a backup that was queued
	phasePrepare  = "prepare"  // the record and the leases
	phaseExport   = "export"   // images and exporters
	phaseCall     = "call"     // the request to the SNA, whatever became of it
)

// The parts of phaseExport, for each disk: several disks are worked on at the same time.
const (
	phaseImage     = "image"     // qemu-img
	phaseUnit      = "unit"      // the pair of units, until qemu-nbd has started
	phaseHandshake = "handshake" // until the export is seen to be the right one
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
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sendense_backup_failures_total",
			Help: "Backups that have failed, by reason, as in the errors of the RPC.",
		}, []string{"reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sendense_backup_duration_seconds",
			Help:    "Time from the request to the SNA to the end of the backup, of those for which the SNA was asked.",
			Buckets: copyBuckets,
		}, []string{"type", "result"}),
		startPhase: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sendense_backup_start_phase_duration_seconds",
			Help:    "Time that the phases of a start took: validate, queue, prepare, export, call.",
			Buckets: phaseBuckets,
		}, []string{"phase"}),
		diskPhase: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sendense_backup_disk_start_phase_duration_seconds",
			Help:    "Time that the parts of the phase export took for each disk: image, unit, handshake.",
			Buckets: phaseBuckets,
		}, []string{"phase"}),
		exportersEnded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sendense_agent_exporters_ended_total",
			Help: "Exporters that have ended, by systemd's Result: success when it was asked to and lost nothing.",
		}, []string{"result"}),
		orphans: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sendense_agent_orphan_units_removed_total",
			Help: "Pairs of units of ours that served no active backup and were removed.",
		}),
		snaCalls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sendense_agent_sna_calls_total",
			Help: "Starts that the SNA was asked for, by outcome (accepted, refused, unreachable: nothing was sent, unknown).",
		}, []string{"outcome"}),
		refreshFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sendense_agent_vm_refresh_failures_total",
			Help: "Times that the disks of a VM were to be looked up in vCenter before its backup and could not be.",
		}),
		transactions: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sendense_agent_store_transaction_duration_seconds",
			Help:    "Time of the database transactions that change the record of a backup, with the wait for other writers.",
			Buckets: writeBuckets,
		}),
	}
	m.afterBackups()
	m.initialize()
	return m
}

// initialize brings every series into being with 0, so that the first increase of each is seen as one.
func (m *metrics) initialize() {
	for _, kind := range []record.Type{record.Full, record.Incremental} {
		for _, result := range []record.State{record.Completed, record.Failed, record.Cancelled} {
			m.ended.WithLabelValues(string(kind), string(result))
			m.duration.WithLabelValues(string(kind), string(result))
		}
	}
	for _, reason := range []Reason{
		ExporterFailed, ImageFailed, RepositoryFailed, NoSpace, StateUnwritable, NoFreePort, NoParent, DiskUnknown,
		SNAUnreachable, SNARefused, DeadlinePassed, ClientSilent, ClientGone, ShuttingDown, Internal,
	} {
		m.failures.WithLabelValues(string(reason))
	}
	for _, kind := range []string{restoreOfDisks, restoreOfFiles} {
		for _, result := range []record.RestoreState{record.RestoreEnded, record.RestoreFailed} {
			m.restoresEnded.WithLabelValues(kind, string(result))
		}
	}
	for _, reason := range []Reason{ExporterFailed, ImageFailed, RepositoryFailed, NoSpace, StateUnwritable, NoFreePort, ReaderFailed, ShuttingDown, Internal} {
		m.restoreFailures.WithLabelValues(string(reason))
	}
	for _, phase := range []string{phaseValidate, phaseQueue, phasePrepare, phaseExport, phaseCall} {
		m.startPhase.WithLabelValues(phase)
	}
	for _, phase := range []string{phaseImage, phaseUnit, phaseHandshake} {
		m.diskPhase.WithLabelValues(phase)
	}
	for _, result := range []string{clean, "exit-code", "signal", "core-dump", "timeout", "oom-kill", "resources", resultGone, resultStopped} {
		m.exportersEnded.WithLabelValues(result)
	}
	for _, depth := range []bool{false, true} {
		for _, result := range []string{VerifiedOK, VerifiedDamaged, VerifiedIncomplete} {
			m.verifications.WithLabelValues(depthOf(depth), result)
		}
	}
	for _, result := range []string{"done", "failed"} {
		m.rewrites.WithLabelValues(result)
		m.pruneRuns.WithLabelValues(result)
	}
	for _, outcome := range []string{"accepted", "refused", "unreachable", "unknown"} {
		m.snaCalls.WithLabelValues(outcome)
	}
}

// register registers what is counted and what is read at a scrape.
func (a *Agent) register(r prometheus.Registerer) error {
	m := a.metrics
	for _, c := range []prometheus.Collector{
		m.ended, m.failures, m.duration, m.startPhase, m.diskPhase, m.snaCalls, m.refreshFailures, m.exportersEnded, m.orphans, m.transactions,
		m.restoresEnded, m.restoreFailures, m.verifyRead, m.verifications,
		m.rewrites, m.pruneRuns, m.pruneRemoved, m.pruneFreed, m.pruneFailures, m.pruneHolds,
		newScrape(a),
	} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

// transition counts a backup that has ended.
func (m *metrics) transition(before, after record.Backup) {
	if !before.State.Active() || after.State.Active() {
		return
	}
	kind, result := string(after.Type), string(after.State)
	m.ended.WithLabelValues(kind, result).Inc()
	if after.State == record.Failed && after.Failure != nil {
		m.failures.WithLabelValues(after.Failure.Reason).Inc()
	}
	if !after.CalledAt.IsZero() {
		m.duration.WithLabelValues(kind, result).Observe(after.EndedAt.Sub(after.CalledAt).Seconds())
	}
}

// The kinds of restores.
const (
	restoreOfDisks = "disks" // exports that others read
	restoreOfFiles = "files" // single files of one disk
)

func kindOfRestore(r record.Restore) string {
	if r.Files != nil {
		return restoreOfFiles
	}
	return restoreOfDisks
}

// restoreTransition counts a restore that has ended.
func (m *metrics) restoreTransition(before, after record.Restore) {
	if !before.State.Active() || after.State.Active() {
		return
	}
	m.restoresEnded.WithLabelValues(kindOfRestore(after), string(after.State)).Inc()
	if after.Failure != nil {
		m.restoreFailures.WithLabelValues(after.Failure.Reason).Inc()
	}
}

// phase records how long a phase of a start took that began at the time given.
func (m *metrics) phase(phase string, since time.Time) {
	m.startPhase.WithLabelValues(phase).Observe(time.Since(since).Seconds())
}

// phaseOfDisk records how long a part of an export took.
func (m *metrics) phaseOfDisk(phase string, since time.Time) {
	m.diskPhase.WithLabelValues(phase).Observe(time.Since(since).Seconds())
}

// exporterEnded counts the end of an exporter that was asked to end.
func (m *metrics) exporterEnded(result string) {
	if strings.HasPrefix(result, "signal ") {
		result = "signal" // one series for all of them
	}
	m.exportersEnded.WithLabelValues(result).Inc()
}

// exporterCrashed counts the end of an exporter that nobody asked to end, however orderly it was.
func (m *metrics) exporterCrashed(result string) {
	if result == clean {
		result = resultStopped
	}
	m.exporterEnded(result)
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
