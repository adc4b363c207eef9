// Package backup moves a backup along: it starts or queues one, serves an image per disk, asks the SNA once, follows the copy, and
// undoes a backup that failed. Package callbacks tells it what SBC asks and reports. Package publish turns the copy into a restore point.
package backup

import (
	"context"
	"log/slog"

	"github.com/sendense/backup-agent/agent/admission"
	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/merge"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/publish"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/agent/verify"
	"github.com/sendense/backup-agent/units"
)

// Parts are what a Service works with.
type Parts struct {
	Config        *config.Config
	Store         *store.Store
	Records       *ledger.Ledger
	Repositories  *repositories.Set
	Exports       *export.Manager
	Ports         *export.Ports
	Admission     *admission.Control
	Inventory     *inventory.Inventory
	Chains        *chain.Chains
	Verifications *verify.Service
	Merges        *merge.Service
	Publish       *publish.Service
	SNA           *sna.Client
	Units         *units.Manager
	Jobs          *job.Group
	Log           *slog.Logger
	Metrics       *metrics.Counters
	Watchers      *events.Watchers
	UnitsChanged  job.Signal // raised at the end of each backup: some of its units may remain
	BootID        string     // of the host; "" if the kernel does not tell
}

// A Service runs backups. Its methods may be called from any goroutine.
type Service struct {
	Parts
	Active *job.Set[*Job] // one for every active backup
}

// New returns a Service without jobs. From now on a change of a backup's record wakes its job.
func New(p Parts) *Service {
	s := &Service{Parts: p, Active: job.NewSet[*Job](p.Jobs)}
	p.Records.Touched = func(id string) {
		if j := s.Job(id); j != nil {
			j.changed.Store(true)
		}
	}
	return s
}

// Launch starts the job of an active backup.
func (s *Service) Launch(b record.Backup) (*Job, error) {
	j := newJob(s, b)
	return j, s.startJob(j)
}

func (s *Service) startJob(j *Job) error {
	return s.Active.Launch(j.ID, j, j.run, s.jobEnded)
}

// jobEnded wakes the others when a backup has ended: there may be room for one in the queue.
func (s *Service) jobEnded() {
	s.NudgeAll()
	s.UnitsChanged.Raise()
}

// NudgeAll wakes every job: there may be room for one in the queue.
func (s *Service) NudgeAll() {
	s.Admission.Changed()
	for _, j := range s.Active.List() {
		j.Nudge()
	}
}

// Job returns the job of an active backup, or nil.
func (s *Service) Job(id string) *Job { return s.Active.Get(id) }

// Ended is closed when the job of a backup has ended. It is closed already if the backup has no job.
func (s *Service) Ended(id string) <-chan struct{} {
	if j := s.Job(id); j != nil {
		return j.Done
	}
	ended := make(chan struct{})
	close(ended)
	return ended
}

// waitJob is Job for a backup that may just have been put on record: it waits until the start in progress has launched the job.
func (s *Service) waitJob(ctx context.Context, id string) (*Job, error) {
	if j := s.Job(id); j != nil {
		return j, nil
	}
	if err := s.Admission.Turn.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer s.Admission.Turn.Release(1)
	return s.Job(id), nil
}

// UnitEvent wakes the jobs that an event concerns, and says whether there is one.
func (s *Service) UnitEvent(e units.Event) (owned bool) {
	return job.UnitEvent(s.Active, e, export.UnitsOf)
}

// WaitsFor says what a queued backup waits for; "" if it is not queued.
func (s *Service) WaitsFor(id string) string {
	if j := s.Job(id); j != nil {
		if why := j.waitsFor.Load(); why != nil {
			return *why
		}
	}
	return ""
}

// Stalled says why an active backup makes no progress at the moment although nothing is lost: a step fails and is repeated, for
// example while the database cannot be written. It is "" if no step does.
func (s *Service) Stalled(id string) string {
	if j := s.Job(id); j != nil {
		if why := j.Stalled.Load(); why != nil {
			return *why
		}
	}
	return ""
}
