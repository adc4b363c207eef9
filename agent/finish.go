package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/units"
)

// finish turns what was copied into a restore point: every client has gone of its own accord, every exporter ended
// cleanly, every image is sound and on the disk. Only a clean end of qemu-nbd shows that its data has been written: SBC
// never flushes. Each step finds what an earlier agent has done of it already.
func (r *run) finish() error {
	a := r.agent
	b, err := a.advance(r.id, backup.Finishing, nil)
	if err != nil {
		return err
	}
	repo, err := a.findRepository(b.Repository)
	if err != nil {
		return err
	}
	vmDir := nbd.DirName(b.VM.Name)
	if _, err := repo.Manifest(vmDir, b.ID); err == nil {
		return r.completed()
	}
	if err := r.waitForClients(b); err != nil {
		return err
	}
	manifest, err := r.inspect(b)
	if err != nil {
		return err
	}
	if err := context.Cause(r.ctx); err != nil {
		return err
	}
	if err := r.publish(repo, vmDir, manifest); err != nil {
		return err
	}
	return r.completed()
}

// publish writes the manifest. An error after its rename changes nothing about there being a restore point now: then it
// is tried again until directory and manifest are known to be on the disk.
func (r *run) publish(repo *repository.Repository, vmDir string, m repository.Manifest) error {
	err := repo.Publish(vmDir, m)
	if err == nil {
		return nil
	}
	if _, missing := repo.Manifest(vmDir, r.id); missing != nil {
		return repositoryError(err)
	}
	if r.untilDone("a restore point is there and cannot be synced", func() error { return repo.Publish(vmDir, m) }) != nil {
		return errStopping // the next agent finds the manifest
	}
	return nil
}

// completed records the end of a backup whose manifest stands: from there on it only goes forward, whatever happens.
func (r *run) completed() error {
	err := r.untilDone("the end of a backup cannot be recorded", func() error {
		b, err := r.agent.store.Backup(r.id)
		if err != nil {
			return err
		}
		if err := r.removeUnits(b); err != nil {
			return err
		}
		_, err = r.agent.advance(r.id, backup.Completed, nil)
		return err
	})
	if err != nil {
		return errStopping // the next agent finds the manifest
	}
	return nil
}

// inspect ends the exporters, checks the images, and describes the restore point.
func (r *run) inspect(b backup.Backup) (repository.Manifest, error) {
	disks := make([]repository.ManifestDisk, len(b.Runs))
	group, ctx := errgroup.WithContext(r.ctx)
	group.SetLimit(maxParallelDisks)
	for i, d := range b.Runs {
		group.Go(func() (err error) {
			disks[i], err = r.finishDisk(ctx, b.VM.Disks[i], d)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		if r.ctx.Err() != nil {
			err = context.Cause(r.ctx)
		}
		return repository.Manifest{}, err
	}
	return r.agent.manifest(b, disks)
}

// waitForClients waits until no client is connected any more. SBC reports a disk complete before it disconnects.
func (r *run) waitForClients(b backup.Backup) error {
	deadline := time.Now().Add(r.agent.config.Deadlines.Disconnect.Std())
	for _, d := range b.Runs {
		for d.Result == "" {
			n, err := nbd.Established(d.Port)
			if err != nil {
				return errorf(Internal, "backup %s: counting the clients of port %d: %w", b.ID, d.Port, err)
			}
			if n == 0 {
				break
			}
			if time.Now().After(deadline) {
				e := errorf(DeadlinePassed, "backup %s: disk %d: %d clients are still connected to %s %s after the last disk was reported complete",
					b.ID, d.DiskID, n, d.ExportName, r.agent.config.Deadlines.Disconnect.Std())
				e.BackupID, e.DiskID = b.ID, new(d.DiskID)
				e.Hint = "what they would still have written is unknown, so the copy cannot be trusted (deadlines.disconnect)"
				return e
			}
			if err := r.sleep(100 * time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// finishDisk ends one exporter, records how it ended before anything of it goes, and checks the image.
func (r *run) finishDisk(ctx context.Context, disk backup.Disk, d backup.DiskRun) (m repository.ManifestDisk, err error) {
	if d.Result == "" {
		if d, err = r.endExporter(ctx, d); err != nil {
			return m, err
		}
	}
	if d.Result != clean {
		return m, r.exporterGone(d, "it did not end cleanly: result "+d.Result+", so what was written may be lost")
	}
	if err := r.agent.units.Remove(ctx, d.Unit); err != nil {
		return m, r.diskError(ExporterFailed, d, err)
	}
	check, err := r.checkImage(ctx, d)
	if err != nil {
		return m, r.diskError(ImageFailed, d, err)
	}
	info, err := r.agent.tools.Info(ctx, d.Image)
	if err != nil {
		return m, r.diskError(ImageFailed, d, err)
	}
	return manifestDisk(disk, d, info, check), nil
}

// checkImage checks the metadata of an image. Clusters that are allocated and not used are waste, not damage: they are
// given back, and the manifest says so.
func (r *run) checkImage(ctx context.Context, d backup.DiskRun) (repository.ManifestCheck, error) {
	found, err := r.agent.tools.Check(ctx, d.Image)
	if err != nil {
		return repository.ManifestCheck{}, err
	}
	if found.Leaks == 0 {
		return repository.ManifestCheck{Result: repository.CheckClean}, nil
	}
	fixed, err := r.agent.tools.RepairLeaks(ctx, d.Image)
	return repository.ManifestCheck{Result: repository.CheckRepaired, LeaksRepaired: fixed.LeaksFixed}, err
}

func (r *run) endExporter(ctx context.Context, d backup.DiskRun) (backup.DiskRun, error) {
	limit := r.agent.config.NBD.StopTimeout.Std()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	u, err := r.agent.units.Terminate(ctx, d.Unit)
	if errors.Is(err, context.DeadlineExceeded) && r.ctx.Err() == nil {
		return d, r.exporterGone(d, fmt.Sprintf("it has not written everything within %s (nbd.stop_timeout)", limit))
	}
	if errors.Is(err, units.ErrNotFound) {
		return d, r.exporterGone(d, "its unit is gone and nothing tells how it ended")
	}
	if err != nil {
		return d, r.diskError(ExporterFailed, d, err)
	}
	if u.InvocationID != d.InvocationID {
		return d, r.exporterGone(d, "its unit is another one by now")
	}
	b, err := r.agent.change(r.id, func(b *backup.Backup) error {
		run := b.Run(d.DiskID)
		run.Result, run.ExitStatus, run.ReceivedBytes = resultOf(u), u.ExecMainStatus, u.ReceivedBytes
		return nil
	})
	if err != nil {
		return d, err
	}
	return *b.Run(d.DiskID), nil
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
