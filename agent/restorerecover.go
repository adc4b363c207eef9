package agent

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// recoverRestores takes up every restore that was active when the last agent ended. One that was not served yet ends:
// whoever asked for it has had no answer.
func (a *Agent) recoverRestores() error {
	active, err := a.store.ActiveRestores()
	if err != nil {
		return fmt.Errorf("reading the active restores: %w", err)
	}
	for _, r := range active {
		a.log.Info("restore taken up", logRestoreID, r.ID, logReason, "it is "+string(r.State))
		if r.State == record.RestorePreparing || r.State == record.RestoreExporting {
			e := errorf(ShuttingDown, "restore %s: the agent ended before it was served", r.ID)
			if r, err = a.advanceRestore(r.ID, record.RestoreStopping, func(r *record.Restore) { r.Failure = failureOf(e) }); err != nil {
				return err
			}
		}
		if _, err := a.launchRestore(r); err != nil {
			return fmt.Errorf("restore %s: %w", r.ID, err)
		}
	}
	return nil
}

// isRestore says whether a unit is named as one of a restore: sendense-nbd-<restore id>-disk<N>-<nonce>.
func isRestore(unit string) bool { return strings.HasPrefix(unit, unitPrefix+"restore-") }

// divide tells the units of restores from those of backups.
func divide(loaded []units.Unit) (restores, backups []units.Unit) {
	for _, u := range loaded {
		if isRestore(u.Name) {
			restores = append(restores, u)
		} else {
			backups = append(backups, u)
		}
	}
	return restores, backups
}

// planScratch removes the overlays that could not be removed when their restores ended.
func planScratch(w world) []step {
	var steps []step
	for _, r := range w.scratch {
		steps = append(steps, step{
			action: removeScratch, restoreID: r.ID, reason: fmt.Sprintf("restore %s is %s", r.ID, r.State),
		})
	}
	return steps
}

// restoreHolds says whether a lease is one of an active restore's.
func restoreHolds(r record.Restore, l record.Lease) bool {
	d := r.Disk(l.DiskID)
	return r.State.Active() && d != nil && d.Port == l.Port && strings.Contains(d.Unit, l.Nonce)
}

func servedBy(r record.Restore, unit string) *record.RestoreDisk {
	for i := range r.Disks {
		if r.Disks[i].Unit == unit {
			return &r.Disks[i]
		}
	}
	if f := r.Files; f != nil && f.Unit == unit && len(r.Disks) == 1 {
		return &record.RestoreDisk{DiskID: r.Disks[0].DiskID, Unit: f.Unit, InvocationID: f.InvocationID}
	}
	return nil
}

// observeRestores reads the records of the restores that units and leases name.
func (a *Agent) observeRestores(w *world) error {
	list, err := a.store.Restores() // of which there are never many
	for _, r := range list {
		w.restores[r.ID] = r
	}
	return err
}

// observeScratch finds the restores that have ended, and whose overlays may be there.
func (a *Agent) observeScratch(w *world) error {
	list, err := a.store.Restores()
	for _, r := range list {
		if !r.State.Active() && r.ScratchMade {
			w.scratch = append(w.scratch, r)
		}
	}
	return err
}

// sweepScratch removes the overlays of a restore that has ended.
func (a *Agent) sweepScratch(id string) error {
	r, err := a.store.Restore(id)
	if err != nil {
		return err
	}
	if err := a.clearScratch(r); err != nil {
		return err
	}
	_, err = a.changeRestore(id, func(r *record.Restore) error {
		r.ScratchMade = false
		return nil
	})
	return err
}

// unitOfRestore takes the name of a unit apart: restore, disk.
var unitOfRestore = regexp.MustCompile(`^` + regexp.QuoteMeta(unitPrefix) + `(restore-.+)-disk([0-9]{1,4})(-files)?-[0-9a-f]{8}$`)

// dropLostRestores ends the restores that went with a lost database: nothing tells how long they were to be served, and
// nothing is lost with them that is not in the restore points. Then no overlay is in use any more.
func (a *Agent) dropLostRestores(ctx context.Context, loaded []units.Unit) error {
	for _, u := range loaded {
		if err := lostRestore(u, a.config.Agent.Slice, a.repositories); err != nil {
			a.log.Warn("a unit that looks like an exporter is left alone", logUnit, u.Name, logReason, err)
			continue
		}
		if r, err := a.store.Restore(backupOf(u.Name)); err == nil && r.State.Active() && servedBy(r, u.Name) != nil {
			continue // it was not lost
		}
		a.log.Warn("an exporter of a lost restore is removed", logUnit, u.Name)
		failpoint.Reach("lost restore: before unit")
		if err := a.units.Remove(ctx, u.Name); err != nil {
			return fmt.Errorf("removing an exporter of a lost restore: %w", err)
		}
		failpoint.Reach("lost restore: unit removed")
	}
	for _, repo := range a.repositories {
		list, err := repo.Scratch()
		if err != nil {
			a.log.Warn("repository cannot be looked through", logError, err)
		}
		for _, id := range list {
			if _, err := a.store.Restore(id); err == nil || !strings.HasPrefix(id, "restore-") {
				continue
			}
			a.log.Warn("the overlays of a lost restore are removed", logRestoreID, id, logDirectory, repo.ScratchDir(id))
			failpoint.Reach("lost restore: before overlays")
			if err := repo.RemoveScratch(id); err != nil {
				a.log.Error("the overlays cannot be removed", logRestoreID, id, logError, err)
			}
			failpoint.Reach("lost restore: overlays removed")
		}
		if err := repo.CloseScratch(); err != nil {
			a.log.Warn("repository cannot be looked through", logError, err)
		}
	}
	return nil
}

// lostRestore says why a unit is not known to be the exporter of a restore. What proves it is more than a name, as there is
// no record: the slice, and a qemu-nbd that serves an image in one of our repositories under the name that such an export
// has.
func lostRestore(u units.Unit, slice string, repositories []*repository.Repository) error {
	name := unitOfRestore.FindStringSubmatch(u.Name)
	image, export, ok := qemu.Served(u.Argv)
	switch {
	case name == nil:
		return errors.New("its name is not one that the agent gives")
	case u.Slice != slice:
		return fmt.Errorf("it is in slice %q, not %s", u.Slice, slice)
	case name[3] != "":
		if len(u.Argv) < 2 || u.Argv[1] != readFiles {
			return errors.New("it does not run what the agent runs")
		}
		return nil
	case !ok || export != name[1]+"-disk"+name[2]:
		return errors.New("it does not run what the agent runs")
	}
	for _, repo := range repositories {
		if strings.HasPrefix(image, repo.Path+"/") {
			return nil
		}
	}
	return fmt.Errorf("its image %s lies in none of the repositories", image)
}
