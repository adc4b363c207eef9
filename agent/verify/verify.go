// Package verify checks that restore points are still what was written, on request and by schedule, and records what it finds. It
// repairs nothing.
package verify

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/sendense/backup-agent/agent/admission"
	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
)

// Parts are what a Service works with.
type Parts struct {
	Config       *config.Config
	Store        *store.Store
	Records      *ledger.Ledger
	Repositories *repositories.Set
	Gate         *admission.Gate
	Chains       *chain.Chains
	Jobs         *job.Group
	Log          *slog.Logger
	Metrics      *metrics.Counters
	Watchers     *events.Watchers
}

// A Service verifies restore points. Its methods may be called from any goroutine.
type Service struct {
	Parts
	verifying verifying
}

// New returns a Service without verifications.
func New(p Parts) *Service {
	return &Service{
		Parts:     p,
		verifying: verifying{pins: map[string]int{}, jobs: map[verifyKey]*Verification{}, next: map[string]*scheduled{}, change: map[string]*semaphore.Weighted{}},
	}
}

// Request asks for the verification of a restore point and all it is based on.
type Request struct {
	BackupID  string
	Deep      bool  // read every byte and compare it with the digests in the manifests
	RateLimit int64 // bytes per second; 0 = verify.rate_limit of the configuration
}

// FileStatus is the result for one file.
type FileStatus string

// The results for a file.
const (
	FileOK         FileStatus = "ok"
	FileDamaged    FileStatus = "damaged"    // it is not what was written
	FileUnreadable FileStatus = "unreadable" // it could not be read, so its state is unknown
	FileUndigested FileStatus = "undigested" // it was read, but its manifest has no digest to compare with
	FileSkipped    FileStatus = "skipped"    // cannot be checked without its manifest
)

// A FileReport is what was found in one file of a chain.
type FileReport struct {
	BackupID string
	DiskID   *int // of an image; nil for a manifest
	Path     string
	Bytes    int64 // its size; 0 if unknown
	Status   FileStatus
	Problem  string // what is wrong; "" for ok
	Hint     string // what to do about it
	deep     bool   // only reading the whole file shows the problem
}

// A Report is what was found in a chain.
type Report struct {
	BackupID           string
	Deep               bool
	Result             string
	StartedAt, EndedAt time.Time
	ReadBytes          int64        // bytes of images, read for their digests
	Files              []FileReport // those of the restore point first, then those of what it is based on
}

// Progress is the progress of a verification. Without Deep it counts files, and no bytes.
type Progress struct {
	BackupID              string
	File                  string // path of the file that is being checked
	FilesDone, FilesTotal int
	BytesDone, BytesTotal int64
}

// A Verification is one that is in progress, or has ended.
type Verification struct {
	service  *Service
	ctx      context.Context // ends with the agent, or has the cause errVerifyCancelled
	cancel   context.CancelCauseFunc
	request  Request
	points   []record.Backup // the newest first
	done     chan struct{}   // closed at its end
	report   Report
	err      error
	progress atomic.Pointer[Progress]
}

// Wait waits for the end. The verification continues when ctx ends.
func (v *Verification) Wait(ctx context.Context) (Report, error) {
	select {
	case <-v.done:
		return v.report, v.err
	case <-ctx.Done():
		return Report{}, ctx.Err()
	}
}

// Progress returns its progress.
func (v *Verification) Progress() Progress { return *v.progress.Load() }

// Done is closed at the end.
func (v *Verification) Done() <-chan struct{} { return v.done }

// Start starts the verification of a restore point and all it is based on, or returns the one that does the same. Until its end
// nothing of the chain can be deleted.
func (s *Service) Start(req Request) (*Verification, error) {
	if req.RateLimit < 0 {
		return nil, fault.New(fault.InvalidRequest, "rate_limit %d: want bytes per second, or 0 for the configured limit", req.RateLimit)
	}
	point, err := s.restorePoint(req.BackupID)
	if err != nil {
		return nil, err
	}
	if _, err := s.Repositories.Find(point.Repository); err != nil {
		return nil, err
	}
	if v := s.same(req); v != nil {
		return v, nil
	}
	if err := s.Gate.Check(point.Repository); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(s.Jobs.Work, startPatience, changing(point.Repository))
	defer cancel()
	release, err := s.verifying.hold(ctx, point.Repository)
	if errors.Is(err, job.ErrStopping) {
		err = job.ErrClosed()
	}
	if err != nil {
		return nil, err
	}
	defer release()
	if v := s.same(req); v != nil { // another request was first
		return v, nil
	}
	return s.begin(req, point)
}

// startPatience is how long a request waits for a change of a restore point in the same repository.
const startPatience = 3 * time.Second

func changing(repository string) *fault.Error {
	return fault.New(fault.Busy, "repository %s: a merge commits, or a backup is being deleted", repository).WithHint("wait until it ends, then try again")
}

// begin pins the chain of a restore point and starts to verify it. The caller holds the slot of the repository.
func (s *Service) begin(req Request, point record.Backup) (v *Verification, err error) {
	v = &Verification{service: s, request: req, done: make(chan struct{})}
	if v.points, err = s.pinChain(point); err != nil {
		return nil, err
	}
	total := 0
	for _, p := range v.points {
		total += 1 + len(p.Runs) // the manifest and the images
	}
	v.progress.Store(&Progress{BackupID: req.BackupID, FilesTotal: total})
	v.ctx, v.cancel = context.WithCancelCause(s.Jobs.Work)
	s.verifying.mu.Lock()
	defer s.verifying.mu.Unlock() // the verification must be among the others before it ends
	if err := s.Jobs.Spawn(v.run); err != nil {
		v.cancel(nil)
		s.drop(v.points)
		return nil, err
	}
	s.verifying.jobs[verifyKey{req.BackupID, req.Deep}] = v
	return v, nil
}

// same returns the verification in progress that does the same; nil for none.
func (s *Service) same(req Request) *Verification {
	s.verifying.mu.Lock()
	defer s.verifying.mu.Unlock()
	if v := s.verifying.jobs[verifyKey{req.BackupID, req.Deep}]; v != nil && v.ctx.Err() == nil {
		return v
	}
	return nil
}

// restorePoint returns the record of a backup that is a restore point.
func (s *Service) restorePoint(id string) (record.Backup, error) {
	b, err := s.Records.Backup(id)
	if err == nil && b.State != record.Completed {
		return b, fault.New(fault.WrongState, "backup %s is %s: only a completed backup is a restore point", id, b.State).OfBackup(id)
	}
	return b, errors.Join(err, checkNotMerging(b))
}

// checkNotMerging fails while a merge of the restore point commits.
func checkNotMerging(b record.Backup) error {
	if b.Merge == nil || !b.Merge.Committing {
		return nil
	}
	return fault.New(fault.Busy, "a merge of backup %s is in progress", b.ID).OfBackup(b.ID).WithHint("wait until it ends, then try again")
}

// limit returns how fast a verification reads. All that have no limit of their own share the configured one, in each repository.
func (s *Service) limit(own int64) storage.ReadLimit {
	if own > 0 {
		return storage.ReadLimit{BytesPerSecond: own}
	}
	return storage.ReadLimit{BytesPerSecond: s.Config.Verify.RateLimit.Bytes(), Shared: true}
}

// run verifies the chain, from the requested restore point down to the full backup.
func (v *Verification) run() {
	a := v.service
	v.report = Report{BackupID: v.request.BackupID, Deep: v.request.Deep, StartedAt: time.Now()}
	walk := &verifyWalk{service: a, ctx: v.ctx, deep: v.request.Deep, limit: v.service.limit(v.request.RateLimit), tell: v.tell}
	walk.count(v.points)
	for _, p := range v.points {
		files := walk.point(p)
		if v.ctx.Err() != nil {
			break // files that the cancel prevented from being checked are not unreadable
		}
		v.report.Files = append(v.report.Files, files...)
		a.recordVerification(p, v.request.Deep, files)
	}
	v.report.ReadBytes, v.report.EndedAt, v.report.Result = walk.read, time.Now(), resultOfFiles(v.report.Files)
	v.err = v.ended()
	v.cancel(nil)
	a.verifying.mu.Lock()
	if key := (verifyKey{v.request.BackupID, v.request.Deep}); a.verifying.jobs[key] == v { // and not one that was started after a cancel
		delete(a.verifying.jobs, key)
	}
	a.verifying.mu.Unlock()
	a.unpin(v.points)
	close(v.done)
}

func (v *Verification) tell(p Progress) {
	p.BackupID = v.request.BackupID
	v.progress.Store(&p)
}

// resultOfFiles is the worst result of the files.
func resultOfFiles(files []FileReport) string {
	result := record.VerifiedOK
	for _, f := range files {
		switch f.Status {
		case FileDamaged:
			return record.VerifiedDamaged
		case FileUnreadable, FileUndigested, FileSkipped:
			result = record.VerifiedIncomplete
		}
	}
	return result
}

// manifestOf reads the manifest of a restore point, and reports what is wrong with it.
func (s *Service) manifestOf(ctx context.Context, repo *storage.Repository, p record.Backup) (manifest.Manifest, FileReport) {
	f := FileReport{BackupID: p.ID, Path: repositories.DirOf(repo, p) + "/" + manifest.FileName, Status: FileOK}
	m, err := s.Chains.ReadPoint(ctx, repo, p)
	f.Found(err)
	if f.Status == FileDamaged && !errors.Is(err, manifest.ErrSeal) {
		f.Hint = "restore the file from a copy of the repository. Without it, this restore point and its children cannot be used"
	}
	return m, f
}

// Found sets the status, problem and hint for err; nil changes nothing.
func (f *FileReport) Found(err error) {
	var damage *chain.Damage
	switch {
	case err == nil:
		return
	case errors.As(err, &damage):
		f.Status = FileDamaged
		f.Hint = "restore the file from a copy, and make a full backup now: no new incremental uses this chain"
	default:
		f.Status = FileUnreadable
		f.Hint = "its state is unknown. Check that the repository is mounted and its disks work, then verify again"
		if e := fault.From(err); e.Hint != "" { // such as for a missing key
			f.Hint = e.Hint
		}
	}
	f.Problem = err.Error()
	for _, prefix := range []string{"image " + f.Path + ": ", "image " + f.Path + " ", f.Path + " "} { // the report has the path already
		f.Problem = strings.TrimPrefix(f.Problem, prefix)
	}
}
