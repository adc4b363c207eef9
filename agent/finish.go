package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/nbd/sockets"
	"github.com/sendense/backup-agent/units"
)

// A finisher turns what a backup has copied into a restore point.
type finisher struct {
	*life
	agent    *Agent
	reported atomic.Pointer[time.Time] // since when this agent knows that every disk is reported; nil until then
}

// newFinisher returns the finisher of a backup, which works within its job.
func (a *Agent) newFinisher(l *life) *finisher { return &finisher{life: l, agent: a} }

// finish turns what was copied into a restore point: every client has gone of its own accord, everything is flushed, every
// exporter ended cleanly, every image is sound and on the disk. Each step finds what an earlier agent has done of it.
func (f *finisher) finish() error {
	a := f.agent
	f.reported.Store(new(time.Now()))
	var b record.Backup
	err := f.untilRecorded(func() (err error) {
		b, err = a.advance(f.id, record.Finishing, nil)
		return err
	})
	if err != nil {
		return err
	}
	repo, err := a.findRepository(b.Repository)
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
	if b.HostRestarted(a.bootID) && !ended(b) {
		return lostWithHost(b)
	}
	if err := diskUnknown(b); err != nil {
		return a.orNamesake(b, err)
	}
	if err := f.waitForClients(b); err != nil {
		return err
	}
	if b, err = f.recordCopies(); err != nil {
		return err
	}
	manifest, err := f.inspect(b)
	if err != nil {
		return err
	}
	if err := f.waitForQuestion(); err != nil {
		return err
	}
	// From here on it is too late to cancel: the manifest may stand although its writing gave an error.
	err = f.untilRecorded(func() error {
		_, err := a.change(f.id, func(b *record.Backup) error {
			if err := diskUnknown(*b); err != nil {
				return err
			}
			b.PublishingAt = time.Now()
			return nil
		})
		return err
	})
	if err != nil {
		return a.orNamesake(b, err)
	}
	failpoint.Reach("before publish")
	return f.publish(repo, b, manifest)
}

// publish writes the manifest, whose rename is the commit. Only when it is known not to stand has publishing failed:
// otherwise it is tried again, until the directory and the manifest are known to be on the disk.
func (f *finisher) publish(repo *repository.Repository, b record.Backup, m manifest.Manifest) error {
	vm := nbd.DirName(b.VM.Name)
	for {
		err := repo.Publish(vm, m)
		if err == nil {
			failpoint.Reach("published")
			return f.completed()
		}
		if !manifestStands(repo, b) {
			return repositoryError(err)
		}
		f.agent.log.Error("restore point is not known to be on the disk", logBackupID, b.ID, logError, err)
		if !pause(f.agent.jobs.work, repositoryInterval) {
			return errStopping
		}
	}
}

// repositoryInterval is how often a repository that is away is looked for.
const repositoryInterval = 2 * time.Second

// published says whether the manifest of a backup stands. While the repository is away nobody knows, so it waits.
func (f *finisher) published(repo *repository.Repository, b record.Backup) (bool, error) {
	for {
		_, err := repo.Manifest(nbd.DirName(b.VM.Name), b.ID)
		if err == nil {
			return true, nil
		}
		if !manifestStands(repo, b) {
			return false, nil
		}
		f.agent.log.Error("repository is waited for", logBackupID, b.ID, logError, err)
		ctx := f.ctx
		if !b.PublishingAt.IsZero() {
			ctx = f.agent.jobs.work // too late to cancel
		}
		if !pause(ctx, repositoryInterval) {
			return false, context.Cause(ctx)
		}
	}
}

// manifestStands says whether there is, or may be, a manifest: only a directory that is there without one has none.
func manifestStands(repo *repository.Repository, b record.Backup) bool {
	_, err := repo.Manifest(nbd.DirName(b.VM.Name), b.ID)
	if !errors.Is(err, repository.ErrNoManifest) {
		return true
	}
	info, err := os.Lstat(repo.Dir(nbd.DirName(b.VM.Name), b.ID))
	return err != nil || !info.IsDir()
}

// ended says whether the end of every exporter is on record.
func ended(b record.Backup) bool {
	return !slices.ContainsFunc(b.Runs, func(d record.DiskRun) bool { return d.Result == "" })
}

// completed records the end of a backup whose manifest stands: from there on it only goes forward, whatever happens.
func (f *finisher) completed() error {
	err := f.untilDone("the end of a backup cannot be recorded", func() error {
		b, err := f.agent.store.Backup(f.id)
		if err != nil {
			return err
		}
		failpoint.Reach("completed: before units")
		if err := f.agent.removePairs(f.agent.jobs.hard, b.Runs); err != nil {
			return err
		}
		failpoint.Reach("completed: units removed")
		_, err = f.agent.advance(f.id, record.Completed, nil)
		return err
	})
	if err != nil {
		return errStopping // the next agent finds the manifest
	}
	return nil
}

// inspect ends the exporters, checks the images, and describes the restore point.
func (f *finisher) inspect(b record.Backup) (manifest.Manifest, error) {
	disks := make([]manifest.Disk, len(b.Runs))
	group, ctx := errgroup.WithContext(f.ctx)
	group.SetLimit(maxParallelDisks)
	for i, d := range b.Runs {
		group.Go(func() (err error) {
			disks[i], err = f.finishDisk(ctx, b.Repository, b.VM.Disks[i], d)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		if f.ctx.Err() != nil {
			err = context.Cause(f.ctx)
		}
		return manifest.Manifest{}, err
	}
	return f.agent.manifest(b, disks)
}

// waitForClients waits until no client is connected to any export. SBC reports a disk complete before it disconnects, and in an
// incremental it may forget a connection, which then ends with its process, after the snapshot is removed (decision 23).
func (f *finisher) waitForClients(b record.Backup) error {
	limit := f.agent.config.Deadlines.Disconnect.Std()
	began, told := time.Now(), false
	for deadline := began.Add(limit); ; {
		d, n, err := busiest(b)
		if err != nil {
			return errorf(Internal, "backup %s: counting the clients of port %d: %w", b.ID, d.Port, err)
		}
		if n == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			e := errorf(DeadlinePassed, "backup %s: disk %d: %d clients are still connected to %s %s after the last disk was reported complete",
				b.ID, d.DiskID, n, d.ExportName, limit)
			e.BackupID, e.DiskID = b.ID, new(d.DiskID)
			e.Hint = "what they would still have written is unknown, so the copy cannot be trusted (deadlines.disconnect)"
			return e
		}
		if !told && time.Since(began) > time.Minute {
			told = true
			f.agent.log.Info("every disk is complete; the backup waits for the client to close its connections",
				logBackupID, b.ID, logDisk, d.DiskID, logPort, d.Port)
		}
		if err := f.sleep(50 * time.Millisecond); err != nil {
			return err
		}
	}
}

// busiest finds the export, of those whose end is not on record, that has the most clients.
func busiest(b record.Backup) (most record.DiskRun, clients int, err error) {
	for _, d := range b.Runs {
		if d.Result != "" {
			continue
		}
		n, err := sockets.Established(d.Port)
		if err != nil {
			return d, 0, err
		}
		if n > clients {
			most, clients = d, n
		}
	}
	return most, clients, nil
}

// finishDisk ends one exporter, records how it ended before anything of it goes, and checks the image.
func (f *finisher) finishDisk(ctx context.Context, repo string, disk record.Disk, d record.DiskRun) (m manifest.Disk, err error) {
	if d.Result == "" {
		if d, err = f.endExporter(ctx, d); err != nil {
			return m, err
		}
	}
	if d.Result != clean {
		return m, f.agent.exporterGone(f.ctx, f.id, d, "it did not end cleanly: result "+d.Result+", so what was written may be lost")
	}
	failpoint.Reach("before exporter is removed")
	if err := f.agent.units.Remove(ctx, d.Unit); err != nil {
		return m, diskError(f.ctx, f.id, ExporterFailed, d, err)
	}
	failpoint.Reach("exporter removed")
	if d.Content == record.WholeDisk && d.Backing != "" {
		if d, err = f.standAlone(ctx, d); err != nil {
			return m, diskError(f.ctx, f.id, ImageFailed, d, err)
		}
	}
	check, err := f.checkImage(ctx, repo, d)
	if err != nil {
		return m, diskError(f.ctx, f.id, ImageFailed, d, err)
	}
	failpoint.Reach("image checked")
	info, err := f.agent.tools.Info(d.Image)
	if err != nil {
		return m, diskError(f.ctx, f.id, ImageFailed, d, err)
	}
	if info.VirtualBytes != d.CapacityBytes || info.BackingFile != d.Backing || info.Encrypted != (d.KeyID != "") || info.Corrupt || info.Dirty {
		return m, diskError(f.ctx, f.id, ImageFailed, d, fmt.Errorf("image %s is not what was served: %d bytes, backing file %q, encrypted %v, dirty %v, corrupt %v",
			d.Image, info.VirtualBytes, info.BackingFile, info.Encrypted, info.Dirty, info.Corrupt))
	}
	m = manifestDisk(disk, d, info, check)
	if m.Digest, err = f.readBack(ctx, d); err != nil {
		return m, diskError(f.ctx, f.id, ImageFailed, d, err)
	}
	return m, nil
}

// checkImage checks the metadata of an image. Clusters that are allocated and not used are waste, not damage: they are
// given back, and the manifest says so.
func (f *finisher) checkImage(ctx context.Context, repoID string, d record.DiskRun) (manifest.Check, error) {
	repo, err := f.agent.findRepository(repoID)
	if err != nil {
		return manifest.Check{}, err
	}
	tools, err := f.agent.keyedTools(repo, d.KeyID)
	if err != nil {
		return manifest.Check{}, err
	}
	found, err := tools.Check(ctx, d.Image)
	if errors.Is(err, qemu.ErrWrongKey) {
		err = wrongKey(repo, d.KeyID, d.Image)
	}
	if err != nil {
		return manifest.Check{}, err
	}
	if found.Leaks == 0 {
		return manifest.Check{Result: manifest.CheckClean}, nil
	}
	failpoint.Reach("before leaks are repaired")
	fixed, err := tools.RepairLeaks(ctx, d.Image)
	failpoint.Reach("leaks repaired")
	return manifest.Check{Result: manifest.CheckRepaired, LeaksRepaired: fixed.LeaksFixed}, err
}

// clean is the result of an exporter that ended of its own accord with exit status 0: all it was given is written.
const clean = "success"

// resultOf says how an exporter ended. To systemd a death by SIGTERM is a success; here it is none, because qemu-nbd
// catches that signal and exits once everything is written.
func resultOf(u units.Unit) string {
	if u.Result == clean && !u.Clean() {
		return fmt.Sprintf("signal %d", u.ExecMainStatus)
	}
	return u.Result
}
