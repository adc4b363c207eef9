// Package publish turns a copy into a restore point. Every client has disconnected by itself, all data is flushed, every exporter
// has ended cleanly, every image is sound and on the disk, and the manifest is written last. Package backup undoes a backup that
// fails.
package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sendense/backup-agent/agent/chain"
	"github.com/sendense/backup-agent/agent/client"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// Parts are what a Service works with.
type Parts struct {
	Config       *config.Config
	Store        *store.Store
	Records      *ledger.Ledger
	Repositories *repositories.Set
	Exports      *export.Manager
	Chains       *chain.Chains
	Questions    *client.Questions
	Jobs         *job.Group
	Units        *units.Manager
	Tools        qemu.Tools
	Log          *slog.Logger
	Metrics      *metrics.Counters
	Version      string // of the agent
	BootID       string // of the host; "" if the kernel does not tell
}

// A Service publishes restore points. Its methods may be called from any goroutine.
type Service struct {
	Parts
	Opened atomic.Pointer[time.Time] // since when the agent answers clients; nil before
}

// New returns a Service.
func New(p Parts) *Service { return &Service{Parts: p} }

// A Finisher turns the copy of one backup into a restore point.
type Finisher struct {
	*job.Job
	service  *Service
	reported atomic.Pointer[time.Time] // since when this agent knows that every disk is reported; nil before
}

// NewFinisher returns the Finisher of a backup. It works within the backup's job.
func (s *Service) NewFinisher(j *job.Job) *Finisher { return &Finisher{Job: j, service: s} }

// Finish turns the copy into a restore point: every client has disconnected by itself, all data is flushed, every exporter has
// ended cleanly, every image is sound and on the disk. Each step continues what an earlier agent has done of it.
func (f *Finisher) Finish() error {
	s := f.service
	f.reported.Store(new(time.Now()))
	var b record.Backup
	err := f.UntilRecorded(func() (err error) {
		b, err = s.Records.Advance(f.ID, record.Finishing, nil)
		return err
	})
	if err != nil {
		return err
	}
	repo, err := s.Repositories.Find(b.Repository)
	if err != nil {
		return err
	}
	published, err := f.published(repo, b)
	if err != nil {
		return err
	}
	if published {
		return f.completed()
	}
	if b.HostRestarted(s.BootID) && !ended(b) {
		return LostWithHost(b)
	}
	if err := client.DiskUnknown(b); err != nil {
		return s.Questions.OrNamesake(b, err)
	}
	if err := f.waitForClients(b); err != nil {
		return err
	}
	if b, err = f.recordCopies(); err != nil {
		return err
	}
	manifest, err := f.inspect(repo, b)
	if err != nil {
		return err
	}
	if err := f.waitForQuestion(); err != nil {
		return err
	}
	// From here on it is too late to cancel: the manifest may exist even if its write returned an error.
	err = f.UntilRecorded(func() error {
		_, err := s.Records.Change(f.ID, func(b *record.Backup) error {
			if err := client.DiskUnknown(*b); err != nil {
				return err
			}
			b.PublishingAt = time.Now()
			return nil
		})
		return err
	})
	if err != nil {
		return s.Questions.OrNamesake(b, err)
	}
	failpoint.Reach("before publish")
	return f.publish(repo, b, manifest)
}

// publish writes the manifest; its rename is the commit. publish fails only if the manifest is known not to exist. Otherwise it
// repeats until the directory and the manifest are known to be on the disk.
func (f *Finisher) publish(repo *storage.Repository, b record.Backup, m manifest.Manifest) error {
	vm := nbd.DirName(b.VM.Name)
	for {
		err := repo.Publish(f.service.Jobs.Work, vm, m)
		if err == nil {
			failpoint.Reach("published")
			return f.completed()
		}
		if f.service.Jobs.Work.Err() != nil {
			return job.ErrStopping // the next agent finds out
		}
		if !manifestStands(f.service.Jobs.Work, repo, b) {
			return repositories.Fault(err)
		}
		f.service.Log.Error("the restore point may not be on the disk yet; the write is repeated", logkey.BackupID, b.ID, logkey.Error, err)
		if !job.Pause(f.service.Jobs.Work, repositoryInterval) {
			return job.ErrStopping
		}
	}
}

// repositoryInterval is how often the agent tries again while a repository is missing.
const repositoryInterval = 2 * time.Second

// published says whether the manifest of a backup exists. While the repository is missing this is not known, so published waits.
func (f *Finisher) published(repo *storage.Repository, b record.Backup) (bool, error) {
	for {
		ctx := f.Ctx
		if !b.PublishingAt.IsZero() {
			ctx = f.service.Jobs.Work // too late to cancel
		}
		_, err := repo.Manifest(ctx, nbd.DirName(b.VM.Name), b.ID)
		if err == nil {
			return true, nil
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if !manifestStands(ctx, repo, b) {
			return false, nil
		}
		f.service.Log.Error("waiting for the repository", logkey.BackupID, b.ID, logkey.Error, err)
		if !job.Pause(ctx, repositoryInterval) {
			return false, context.Cause(ctx)
		}
	}
}

// manifestStands says whether the manifest exists or may exist. It is false only if the directory exists and has no manifest.
func manifestStands(ctx context.Context, repo *storage.Repository, b record.Backup) bool {
	_, err := repo.Manifest(ctx, nbd.DirName(b.VM.Name), b.ID)
	if !errors.Is(err, repository.ErrNoManifest) {
		return true
	}
	info, err := repo.Stat(ctx, repo.Dir(nbd.DirName(b.VM.Name), b.ID))
	return err != nil || !info.Directory
}

// ended says whether the end of every exporter is on record.
func ended(b record.Backup) bool {
	return !slices.ContainsFunc(b.Runs, func(d record.DiskRun) bool { return d.Result == "" })
}

// completed records the end of a backup whose manifest exists. From here the backup can only complete.
func (f *Finisher) completed() error {
	err := f.UntilDone("the end of a backup cannot be recorded", func() error {
		b, err := f.service.Store.Backup(f.ID)
		if err != nil {
			return err
		}
		failpoint.Reach("completed: before units")
		if err := f.service.Exports.RemovePairs(f.service.Jobs.Hard, export.Disks(b.Runs)); err != nil {
			return err
		}
		failpoint.Reach("completed: units removed")
		_, err = f.service.Records.Advance(f.ID, record.Completed, nil)
		return err
	})
	if err != nil {
		return job.ErrStopping // the next agent finds the manifest
	}
	return nil
}

// inspect ends the exporters, checks the images, and describes the restore point.
func (f *Finisher) inspect(repo *storage.Repository, b record.Backup) (manifest.Manifest, error) {
	disks := make([]manifest.Disk, len(b.Runs))
	err := export.Each(f.Ctx, len(b.Runs), func(ctx context.Context, i int) (err error) {
		disks[i], err = f.finishDisk(ctx, repo, b.VM.Disks[i], b.Runs[i])
		return err
	})
	if err != nil {
		return manifest.Manifest{}, err
	}
	return f.service.manifest(b, disks)
}

// waitForClients waits until no client is connected to any export. SBC reports a disk complete before it disconnects. In an
// incremental it may forget a connection; that one ends with its process, after the snapshot is removed (decision 23).
func (f *Finisher) waitForClients(b record.Backup) error {
	limit := f.service.Config.Deadlines.Disconnect.Std()
	began, told := time.Now(), false
	for deadline := began.Add(limit); ; {
		d, n, err := export.Busiest(b)
		if err != nil {
			return fault.New(fault.Internal, "backup %s: counting the clients of port %d: %w", b.ID, d.Port, err)
		}
		if n == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fault.New(fault.DeadlinePassed, "backup %s: disk %d: %d clients are still connected to %s %s after the last disk was reported complete",
				b.ID, d.DiskID, n, d.ExportName, limit).OfBackup(b.ID).OfDisk(d.DiskID).
				WithHint("they may still have written, so the copy cannot be trusted (deadlines.disconnect)")
		}
		if !told && time.Since(began) > time.Minute {
			told = true
			f.service.Log.Info("all disks are complete; waiting for the client to close its connections",
				logkey.BackupID, b.ID, logkey.Disk, d.DiskID, logkey.Port, d.Port)
		}
		if err := f.Sleep(50 * time.Millisecond); err != nil {
			return err
		}
	}
}

// finishDisk ends one exporter, records how it ended before its unit is removed, and checks the image.
func (f *Finisher) finishDisk(ctx context.Context, repo *storage.Repository, disk record.Disk, d record.DiskRun) (m manifest.Disk, err error) {
	if d.Result == "" {
		if d, err = f.endExporter(ctx, d); err != nil {
			return m, err
		}
	}
	if d.Result != record.ResultClean {
		return m, f.service.Exports.Gone(f.Job, d, "it did not end cleanly: result "+d.Result+", so what was written may be lost")
	}
	failpoint.Reach("before exporter is removed")
	if err := f.service.Units.Remove(ctx, d.Unit); err != nil {
		return m, export.DiskError(f.Job, fault.ExporterFailed, d, err)
	}
	failpoint.Reach("exporter removed")
	if d, err = f.squeeze(ctx, repo, d); err != nil {
		return m, export.DiskError(f.Job, fault.ImageFailed, d, err)
	}
	if d.Content == record.WholeDisk && d.Backing != "" {
		if d, err = f.flatten(ctx, d); err != nil {
			return m, export.DiskError(f.Job, fault.ImageFailed, d, err)
		}
	}
	check, sum, err := f.checkAndRead(ctx, repo, d)
	if err != nil {
		return m, export.DiskError(f.Job, fault.ImageFailed, d, err)
	}
	info, err := repo.Images(qemu.Secret{}).Info(ctx, d.Image)
	if err != nil {
		return m, export.DiskError(f.Job, fault.ImageFailed, d, err)
	}
	if info.VirtualBytes != d.CapacityBytes || info.BackingFile != d.Backing || info.Encrypted != (d.KeyID != "") || info.Corrupt || info.Dirty {
		return m, export.DiskError(f.Job, fault.ImageFailed, d, fmt.Errorf("image %s differs from what was served: %d bytes, backing file %q, encrypted %v, dirty %v, corrupt %v",
			d.Image, info.VirtualBytes, info.BackingFile, info.Encrypted, info.Dirty, info.Corrupt))
	}
	m = manifestDisk(disk, d, info, check)
	m.Digest = &sum
	return m, nil
}

// LostWithHost is the error of a backup that cannot continue because a restart of the host ended its exporters.
func LostWithHost(b record.Backup) *fault.Error {
	return fault.New(fault.ExporterFailed, "backup %s: the host was restarted while the backup was %s, which ended its exporters", b.ID, b.State).OfBackup(b.ID).
		WithHint("start it again: the copied data may not be on the disk")
}
