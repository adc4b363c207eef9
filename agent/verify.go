package agent

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
)

// VerifyRequest asks whether a restore point, and all it stands on, is still what was written.
type VerifyRequest struct {
	BackupID  string
	Deep      bool  // read every byte and compare it with the digests in the manifests
	RateLimit int64 // bytes per second; 0 = verify.rate_limit of the configuration
}

// FileStatus is what was found of one file.
type FileStatus string

// What can be found of a file.
const (
	FileOK         FileStatus = "ok"
	FileDamaged    FileStatus = "damaged"    // it is not what was written
	FileUnreadable FileStatus = "unreadable" // it could not be looked at, so nothing is known
	FileUndigested FileStatus = "undigested" // it was read, and its manifest has no digest to compare with
	FileSkipped    FileStatus = "skipped"    // without its manifest nobody knows what it should be
)

// A FileReport is what was found of one file of a chain.
type FileReport struct {
	BackupID string
	DiskID   *int // of an image; nil for a manifest
	Path     string
	Bytes    int64 // its size; 0 if that is not known
	Status   FileStatus
	Problem  string // what is wrong; "" for ok
	Hint     string // what to do about it
	deep     bool   // only reading the whole file shows the problem
}

// The results of a verification, the worst of its files.
const (
	VerifiedOK         = "ok"
	VerifiedDamaged    = "damaged"
	VerifiedIncomplete = "incomplete" // no damage was found, but not everything could be looked at, or compared
)

// A VerifyReport is what was found of a chain.
type VerifyReport struct {
	BackupID           string
	Deep               bool
	Result             string
	StartedAt, EndedAt time.Time
	ReadBytes          int64        // of images, read for their digests
	Files              []FileReport // the restore point's first, then those of what it stands on
}

// VerifyProgress is how far a verification has come. Without Deep there are files, and no bytes.
type VerifyProgress struct {
	BackupID              string
	File                  string // path of the file that is looked at
	FilesDone, FilesTotal int
	BytesDone, BytesTotal int64
}

// A Verification is one that is under way.
type Verification struct {
	agent    *Agent
	ctx      context.Context // ends with the agent, or has the cause errVerifyCancelled
	cancel   context.CancelCauseFunc
	request  VerifyRequest
	points   []record.Backup // the newest first
	done     chan struct{}   // closed at its end
	report   VerifyReport
	err      error
	progress atomic.Pointer[VerifyProgress]
}

// Wait waits for the end. The verification goes on, whatever becomes of ctx.
func (v *Verification) Wait(ctx context.Context) (VerifyReport, error) {
	select {
	case <-v.done:
		return v.report, v.err
	case <-ctx.Done():
		return VerifyReport{}, ctx.Err()
	}
}

// Progress tells how far it has come.
func (v *Verification) Progress() VerifyProgress { return *v.progress.Load() }

// Done is closed at the end.
func (v *Verification) Done() <-chan struct{} { return v.done }

// Verify begins to verify a restore point and all it stands on, or joins those who wait for the same. Nothing of the chain can
// be deleted until its end.
func (a *Agent) Verify(req VerifyRequest) (*Verification, error) {
	if req.RateLimit < 0 {
		return nil, errorf(InvalidRequest, "rate_limit %d: want bytes per second, or 0 for what is configured", req.RateLimit)
	}
	point, err := a.restorePoint(req.BackupID)
	if err != nil {
		return nil, err
	}
	if _, err := a.findRepository(point.Repository); err != nil {
		return nil, err
	}
	a.verifying.mu.Lock()
	defer a.verifying.mu.Unlock()
	if v := a.verifying.jobs[verifyKey{req.BackupID, req.Deep}]; v != nil && v.ctx.Err() == nil {
		return v, nil
	}
	v := &Verification{agent: a, request: req, done: make(chan struct{})}
	if v.points, err = a.pinChain(point); err != nil {
		return nil, err
	}
	total := 0
	for _, p := range v.points {
		total += 1 + len(p.Runs) // the manifest, and the images
	}
	v.progress.Store(&VerifyProgress{BackupID: req.BackupID, FilesTotal: total})
	limit := a.verifyLimit
	if req.RateLimit > 0 {
		limit = digest.Limit(req.RateLimit)
	}
	v.ctx, v.cancel = context.WithCancelCause(a.jobs.work)
	if err := a.jobs.spawn(func() { v.run(limit) }); err != nil {
		v.cancel(nil)
		a.unpin(v.points)
		return nil, err
	}
	a.verifying.jobs[verifyKey{req.BackupID, req.Deep}] = v
	return v, nil
}

// restorePoint is the record of a backup that is one.
func (a *Agent) restorePoint(id string) (record.Backup, error) {
	b, err := a.Backup(id)
	if err == nil && b.State != record.Completed {
		e := errorf(WrongState, "backup %s is %s: only one that is completed is a restore point", id, b.State)
		e.BackupID = id
		return b, e
	}
	return b, errors.Join(err, exchanging(b))
}

// exchanging refuses to look at a restore point whose directory is being exchanged for another.
func exchanging(b record.Backup) error {
	if b.Merge == nil || !b.Merge.Committing {
		return nil
	}
	e := errorf(Busy, "backup %s is being written anew", b.ID)
	e.BackupID, e.Hint = b.ID, "wait for the end of that, and try again"
	return e
}

// run looks at the chain, from the point asked for down to the one that stands on nothing.
func (v *Verification) run(limit *rate.Limiter) {
	a := v.agent
	v.report = VerifyReport{BackupID: v.request.BackupID, Deep: v.request.Deep, StartedAt: time.Now()}
	walk := &verifyWalk{agent: a, ctx: v.ctx, deep: v.request.Deep, limit: limit, tell: v.tell}
	walk.count(v.points)
	for _, p := range v.points {
		files := walk.point(p)
		if v.ctx.Err() != nil {
			break // what could not be looked at for that is not unreadable
		}
		v.report.Files = append(v.report.Files, files...)
		a.recordVerification(p, v.request.Deep, files)
	}
	v.report.ReadBytes, v.report.EndedAt, v.report.Result = walk.read, time.Now(), resultOfFiles(v.report.Files)
	v.err = v.ended()
	v.cancel(nil)
	a.verifying.mu.Lock()
	if key := (verifyKey{v.request.BackupID, v.request.Deep}); a.verifying.jobs[key] == v { // and not one that was begun since a cancel
		delete(a.verifying.jobs, key)
	}
	a.verifying.mu.Unlock()
	a.unpin(v.points)
	close(v.done)
}

func (v *Verification) tell(p VerifyProgress) {
	p.BackupID = v.request.BackupID
	v.progress.Store(&p)
}

// resultOfFiles is the worst that was found.
func resultOfFiles(files []FileReport) string {
	result := VerifiedOK
	for _, f := range files {
		switch f.Status {
		case FileDamaged:
			return VerifiedDamaged
		case FileUnreadable, FileUndigested, FileSkipped:
			result = VerifiedIncomplete
		}
	}
	return result
}

// manifestOf reads the manifest of a point, and says what is wrong with it as a report.
func (a *Agent) manifestOf(repo *repository.Repository, p record.Backup) (manifest.Manifest, FileReport) {
	f := FileReport{BackupID: p.ID, Path: dirOf(repo, p) + "/" + manifest.FileName, Status: FileOK}
	m, err := a.readPoint(repo, p)
	f.found(err)
	if f.Status == FileDamaged && !errors.Is(err, manifest.ErrSeal) {
		f.Hint = "put it back from a copy of the repository; without it this restore point, and what stands on it, cannot be used"
	}
	return m, f
}

// An unseenError says that nothing could be looked at, whatever its cause.
type unseenError struct{ err error }

func (e *unseenError) Error() string { return e.err.Error() }

// found fills in what is wrong; nil is nothing.
func (f *FileReport) found(err error) {
	var damage *damageError
	switch {
	case err == nil:
		return
	case errors.As(err, &damage):
		f.Status = FileDamaged
		f.Hint = "put it back from a copy; make a full backup now, since incrementals are no longer built upon it"
	default:
		f.Status = FileUnreadable
		f.Hint = "nothing is known about it: see that the repository is mounted and its disks are well, and verify again"
		if e := AsError(err); e.Hint != "" { // as of a key that is missing
			f.Hint = e.Hint
		}
	}
	f.Problem = err.Error()
	for _, prefix := range []string{"image " + f.Path + ": ", "image " + f.Path + " ", f.Path + " "} { // which the report names
		f.Problem = strings.TrimPrefix(f.Problem, prefix)
	}
}
