// Package metrics counts what happens, for Prometheus. It keeps no present states: package agent reads them at each scrape.
// docs/metrics.md lists all metrics.
package metrics

import (
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna"
)

// Counters counts what happens. Each field is one metric; its help text describes it.
type Counters struct {
	Ended      *prometheus.CounterVec
	Failures   *prometheus.CounterVec
	Duration   *prometheus.HistogramVec
	StartPhase *prometheus.HistogramVec
	DiskPhase  *prometheus.HistogramVec
	SNACalls   *prometheus.CounterVec

	RefreshFailures prometheus.Counter
	ExportersEnded  *prometheus.CounterVec
	Orphans         prometheus.Counter
	Transactions    prometheus.Histogram
	VerifyRead      prometheus.Counter
	Verifications   *prometheus.CounterVec

	RestoresEnded   *prometheus.CounterVec
	RestoreFailures *prometheus.CounterVec
	Merges          *prometheus.CounterVec
	PruneRuns       *prometheus.CounterVec
	PruneRemoved    prometheus.Counter
	PruneFreed      prometheus.Counter
	Squeezes        *prometheus.CounterVec
	SqueezeReceived prometheus.Counter
	SqueezeKept     prometheus.Counter
	SqueezeSaved    prometheus.Counter
	PruneFailures   prometheus.Counter
	PruneHolds      prometheus.Counter

	RepositoryOperations *prometheus.HistogramVec
	RunsEnded            *prometheus.CounterVec
	RunVMsEnded          *prometheus.CounterVec
	CatalogImported      *prometheus.CounterVec
	CatalogNotImported   *prometheus.CounterVec
}

// The phases of a start.
const (
	PhaseValidate = "validate" // checks before anything is changed; the SNA may be asked for the VM's disks
	PhaseQueue    = "queue"    // time in the queue, of a backup that was queued
	PhasePrepare  = "prepare"  // the record and the leases
	PhaseExport   = "export"   // images and exporters
	phaseCall     = "call"     // the request to the SNA, whatever its outcome
)

// The parts of PhaseExport, for each disk. Several disks are worked on at the same time.
const (
	PhaseImage     = "image"     // qemu-img
	PhaseUnit      = "unit"      // the pair of units, until qemu-nbd has started
	PhaseHandshake = "handshake" // until the agent has checked that the export is the right one
)

var (
	phaseBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200}
	copyBuckets  = []float64{10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 57600, 86400, 172800}
	writeBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
)

// New returns Counters with their series at 0. The caller registers them.
func New() *Counters {
	m := &Counters{
		Ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sendense_backup_ended_total",
			Help: "Backups that have ended, by type and result (completed, failed, cancelled).",
		}, []string{"type", "result"}),
		Failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sendense_backup_failures_total",
			Help: "Backups that have failed, by reason, as in the errors of the RPC.",
		}, []string{"reason"}),
		Duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sendense_backup_duration_seconds",
			Help:    "Time from the request to the SNA until the end of the backup.",
			Buckets: copyBuckets,
		}, []string{"type", "result"}),
		StartPhase: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sendense_backup_start_phase_duration_seconds",
			Help:    "Duration of the phases of a start: validate, queue, prepare, export, call.",
			Buckets: phaseBuckets,
		}, []string{"phase"}),
		DiskPhase: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sendense_backup_disk_start_phase_duration_seconds",
			Help:    "Duration of the parts of the phase export for each disk: image, unit, handshake.",
			Buckets: phaseBuckets,
		}, []string{"phase"}),
		ExportersEnded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sendense_agent_exporters_ended_total",
			Help: "Exporters that have ended, by systemd's Result; success = the agent ended it, and no data was lost.",
		}, []string{"result"}),
		Orphans: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sendense_agent_orphan_units_removed_total",
			Help: "Orphan units that were removed.",
		}),
		SNACalls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sendense_agent_sna_calls_total",
			Help: "Start requests to the SNA, by outcome (accepted, refused, unreachable: nothing was sent, unknown).",
		}, []string{"outcome"}),
		RefreshFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sendense_agent_vm_refresh_failures_total",
			Help: "Failed lookups of a VM's disks in vCenter before a backup.",
		}),
		Transactions: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sendense_agent_store_transaction_duration_seconds",
			Help:    "Duration of database transactions that change the record of a backup, including the wait for other writers.",
			Buckets: writeBuckets,
		}),
	}
	m.afterBackups()
	m.initialize()
	return m
}

// initialize creates every series with 0, so that Prometheus sees its first increase.
func (m *Counters) initialize() {
	for _, kind := range []record.Type{record.Full, record.Incremental} {
		for _, result := range []record.State{record.Completed, record.Failed, record.Cancelled} {
			m.Ended.WithLabelValues(string(kind), string(result))
			m.Duration.WithLabelValues(string(kind), string(result))
		}
	}
	for _, reason := range []fault.Reason{
		fault.ExporterFailed, fault.ImageFailed, fault.RepositoryFailed, fault.RepositoryStuck, fault.NoSpace, fault.StateUnwritable, fault.NoFreePort, fault.NoParent,
		fault.DiskUnknown, fault.PasswordMissing, fault.NotConfigured, fault.SNAUnreachable, fault.SNARefused, fault.DeadlinePassed, fault.ClientSilent, fault.ClientGone, fault.ShuttingDown,
		fault.SystemdFailed, fault.ProgramMissing, fault.HostFailed, fault.Internal,
	} {
		m.Failures.WithLabelValues(string(reason))
	}
	for _, kind := range []string{restoreOfDisks, restoreOfFiles} {
		for _, result := range []record.RestoreState{record.RestoreEnded, record.RestoreFailed} {
			m.RestoresEnded.WithLabelValues(kind, string(result))
		}
	}
	for _, reason := range []fault.Reason{fault.ExporterFailed, fault.ImageFailed, fault.RepositoryFailed, fault.RepositoryStuck, fault.NoSpace, fault.StateUnwritable, fault.NoFreePort, fault.ReaderFailed, fault.ShuttingDown, fault.SystemdFailed, fault.ProgramMissing, fault.HostFailed, fault.Internal} {
		m.RestoreFailures.WithLabelValues(string(reason))
	}
	for _, result := range []string{squeezeReduced, SqueezeNotSmaller, SqueezeNoRoom, SqueezeFailed} {
		m.Squeezes.WithLabelValues(result)
	}
	for _, phase := range []string{PhaseValidate, PhaseQueue, PhasePrepare, PhaseExport, phaseCall} {
		m.StartPhase.WithLabelValues(phase)
	}
	for _, phase := range []string{PhaseImage, PhaseUnit, PhaseHandshake} {
		m.DiskPhase.WithLabelValues(phase)
	}
	for _, result := range []string{record.ResultClean, "exit-code", "signal", "core-dump", "timeout", "oom-kill", "resources", record.ResultUnknown, record.ResultGone, record.ResultStopped} {
		m.ExportersEnded.WithLabelValues(result)
	}
	for _, depth := range []bool{false, true} {
		for _, result := range []string{record.VerifiedOK, record.VerifiedDamaged, record.VerifiedIncomplete} {
			m.Verifications.WithLabelValues(DepthOf(depth), result)
		}
	}
	for _, result := range []string{"done", "failed"} {
		m.Merges.WithLabelValues(result)
		m.PruneRuns.WithLabelValues(result)
	}
	for _, outcome := range []string{"accepted", "refused", "unreachable", "unknown"} {
		m.SNACalls.WithLabelValues(outcome)
	}
}

// Transition counts a backup that has ended. It ignores all other changes.
func (m *Counters) Transition(before, after record.Backup) {
	if !before.State.Active() || after.State.Active() {
		return
	}
	kind, result := string(after.Type), string(after.State)
	m.Ended.WithLabelValues(kind, result).Inc()
	if after.State == record.Failed && after.Failure != nil {
		m.Failures.WithLabelValues(after.Failure.Reason).Inc()
	}
	if !after.CalledAt.IsZero() {
		m.Duration.WithLabelValues(kind, result).Observe(after.EndedAt.Sub(after.CalledAt).Seconds())
	}
}

// The kinds of restores.
const (
	restoreOfDisks = "disks" // exports that clients read
	restoreOfFiles = "files" // single files of one disk
)

// KindOfRestore returns the label of a restore's kind: "disks" or "files".
func KindOfRestore(r record.Restore) string {
	if r.Files != nil {
		return restoreOfFiles
	}
	return restoreOfDisks
}

// RestoreTransition counts a restore that has ended. It ignores all other changes.
func (m *Counters) RestoreTransition(before, after record.Restore) {
	if !before.State.Active() || after.State.Active() {
		return
	}
	m.RestoresEnded.WithLabelValues(KindOfRestore(after), string(after.State)).Inc()
	if after.Failure != nil {
		m.RestoreFailures.WithLabelValues(after.Failure.Reason).Inc()
	}
}

// Phase records the duration of a phase of a start that began at since.
func (m *Counters) Phase(phase string, since time.Time) {
	m.StartPhase.WithLabelValues(phase).Observe(time.Since(since).Seconds())
}

// PhaseOfDisk records the duration of a part of PhaseExport that began at since.
func (m *Counters) PhaseOfDisk(phase string, since time.Time) {
	m.DiskPhase.WithLabelValues(phase).Observe(time.Since(since).Seconds())
}

// ExporterEnded counts the end of an exporter that the agent ended. result is what export.ResultOf returns.
func (m *Counters) ExporterEnded(result string) {
	if strings.HasPrefix(result, "signal ") {
		result = "signal" // one series for all signals
	}
	m.ExportersEnded.WithLabelValues(result).Inc()
}

// ExporterCrashed counts the end of an exporter that the agent did not end, even if it exited cleanly.
func (m *Counters) ExporterCrashed(result string) {
	if result == record.ResultClean {
		result = record.ResultStopped
	}
	m.ExporterEnded(result)
}

// Transaction records the duration of a transaction that was requested at since.
func (m *Counters) Transaction(since time.Time) { m.Transactions.Observe(time.Since(since).Seconds()) }

// Called counts the start request to the SNA by its outcome, and records its duration. It was sent at since.
func (m *Counters) Called(since time.Time, err error) {
	m.Phase(phaseCall, since)
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
	m.SNACalls.WithLabelValues(outcome).Inc()
}
