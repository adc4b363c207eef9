package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// afterBackups makes the metrics of restores, policies and verifications.
func (m *Counters) afterBackups() {
	m.RestoresEnded = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_restore_ended_total",
		Help: "Restores that have ended, by kind (disks, files) and result (ended, failed).",
	}, []string{"kind", "result"})
	m.RestoreFailures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_restore_failures_total",
		Help: "Restores that have failed, by reason, as in the errors of the RPC.",
	}, []string{"reason"})
	m.Merges = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_rewrites_total",
		Help: "Merges of restore points, by result (done, failed).",
	}, []string{"result"})
	m.PruneRuns = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_prune_runs_total",
		Help: "Prune runs, by result; failed = a restore point could not be removed.",
	}, []string{"result"})
	m.PruneRemoved = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_prune_removed_total",
		Help: "Restore points removed because no policy keeps them.",
	})
	m.Squeezes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_squeezes_total",
		Help: "Images that were to be reduced to what differs from their parents, by result (reduced, not_smaller, no_room, failed).",
	}, []string{"result"})
	m.SqueezeReceived = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_squeeze_received_bytes_total",
		Help: "Bytes that exports received for images that were reduced to what differs from their parents.",
	})
	m.SqueezeKept = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_squeeze_kept_bytes_total",
		Help: "Bytes of disk space that reduced images take.",
	})
	m.SqueezeSaved = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_squeeze_saved_bytes_total",
		Help: "Bytes of disk space that images took less after they were reduced to what differs from their parents.",
	})
	m.PruneFreed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_prune_freed_bytes_total",
		Help: "Bytes freed by prune runs, minus the growth by merges.",
	})
	m.PruneFailures = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_prune_failures_total",
		Help: "Failed removals of expired restore points.",
	})
	m.PruneHolds = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_prune_holds_total",
		Help: "Held prunes: a daily run would have removed too many restore points of a VM at once.",
	})
	m.RepositoryOperations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "sendense_agent_repository_operation_seconds",
		Help:    "Duration of operations on a repository, by kind (read, change, whole: of whole images, probe: whether it answers).",
		Buckets: writeBuckets,
	}, []string{"repository", "kind"})
	m.RunsEnded = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_schedule_runs_total",
		Help: "Runs of a schedule that have ended, by result (completed, partial, failed, canceled, skipped).",
	}, []string{"schedule", "result"})
	m.RunVMsEnded = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_schedule_run_vms_total",
		Help: "VMs of runs that have ended, by result (completed, failed, skipped, canceled). A VM with several tries counts once.",
	}, []string{"schedule", "result"})
	m.CatalogImported = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_catalog_imported_total",
		Help: "Restore points that the agent has put on record by itself, because the catalog had none of their repository.",
	}, []string{"repository"})
	m.CatalogNotImported = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_catalog_import_problems_total",
		Help: "Problems of such imports, such as a damaged manifest or a missing key. An import that is repeated counts new ones only.",
	}, []string{"repository"})
	m.VerifyRead = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_verify_read_bytes_total",
		Help: "Bytes of images read to compare digests, including holes.",
	})
	m.Verifications = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sendense_verify_restore_points_total",
		Help: "Verified restore points, by depth (shallow, deep) and result (ok, damaged, incomplete: not all could be read or compared).",
	}, []string{"depth", "result"})
}

// RepositoryOperation counts an operation on a repository, of one of storage.Kinds.
func (m *Counters) RepositoryOperation(repositoryID, kind string, took time.Duration) {
	m.RepositoryOperations.WithLabelValues(repositoryID, kind).Observe(took.Seconds())
}

// Imported counts an import of a repository: the restore points that it put on record, and its problems.
func (m *Counters) Imported(repositoryID string, points, problems int) {
	m.CatalogImported.WithLabelValues(repositoryID).Add(float64(points))
	m.CatalogNotImported.WithLabelValues(repositoryID).Add(float64(problems))
}

// The results of an attempt to reduce an image to what differs from its parent.
const (
	squeezeReduced    = "reduced"
	SqueezeNotSmaller = "not_smaller" // almost everything differs
	SqueezeNoRoom     = "no_room"     // for a second image
	SqueezeFailed     = "failed"
)

// Squeezed counts an image that was reduced: what its export received, and how much space it took before and takes now, in bytes.
func (m *Counters) Squeezed(received uint64, written, kept int64) {
	m.Squeezes.WithLabelValues(squeezeReduced).Inc()
	m.SqueezeReceived.Add(float64(received))
	m.SqueezeKept.Add(float64(kept))
	m.SqueezeSaved.Add(float64(written - kept))
}
