package reconcile

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// divide separates the units of restores from those of backups.
func divide(loaded []units.Unit) (restores, backups []units.Unit) {
	for _, u := range loaded {
		if export.IsRestore(u.Name) {
			restores = append(restores, u)
		} else {
			backups = append(backups, u)
		}
	}
	return restores, backups
}

// planScratch removes the overlays that could not be removed when their restores ended.
func planScratch(w observed) []step {
	var steps []step
	for _, r := range w.scratch {
		steps = append(steps, step{
			action: removeScratch, restoreID: r.ID, reason: fmt.Sprintf("restore %s is %s", r.ID, r.State),
		})
	}
	return steps
}

// servedBy is the disk of a restore that a unit serves; nil if the record does not name the unit.
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

// observeRestores reads the records of all restores.
func (a *Reconciler) observeRestores(w *observed) error {
	list, err := a.Store.Restores() // there are never many
	for _, r := range list {
		w.restores[r.ID] = r
	}
	return err
}

// observeScratch finds the restores that have ended and whose overlays may exist.
func (a *Reconciler) observeScratch(w *observed) error {
	list, err := a.Store.Restores()
	for _, r := range list {
		if !r.State.Active() && r.ScratchMade {
			w.scratch = append(w.scratch, r)
		}
	}
	return err
}

// unitOfRestore parses the name of a unit: restore and disk.
var unitOfRestore = regexp.MustCompile(`^` + regexp.QuoteMeta(export.UnitPrefix) + `(restore-.+)-disk([0-9]{1,4})(-files)?-[0-9a-f]{8}$`)

// dropLostRestores ends the restores whose records were lost with the database. Their expiry is unknown, and all their data is still in
// the restore points. After that no overlay is in use, and the overlays are removed.
func (a *Reconciler) dropLostRestores(ctx context.Context, loaded []units.Unit) error {
	for _, u := range loaded {
		if err := lostRestore(u, a.Config.Agent.Slice, a.Repositories.All); err != nil {
			a.Log.Warn("a unit with the name of an exporter is not ours; it is left alone", logkey.Unit, u.Name, logkey.Reason, err)
			continue
		}
		if r, err := a.Store.Restore(export.OwnerOf(u.Name)); err == nil && r.State.Active() && servedBy(r, u.Name) != nil {
			continue // it was not lost
		}
		a.Log.Warn("an exporter of a lost restore is removed", logkey.Unit, u.Name)
		failpoint.Reach("lost restore: before unit")
		if err := a.Units.Remove(ctx, u.Name); err != nil {
			return fmt.Errorf("removing an exporter of a lost restore: %w", err)
		}
		failpoint.Reach("lost restore: unit removed")
	}
	ctx = storage.UntilStuck(ctx)
	for _, repo := range a.Repositories.All {
		list, err := repo.Scratch(ctx)
		if err != nil {
			a.Log.Warn("cannot list a repository", logkey.Error, err)
		}
		for _, id := range list {
			if _, err := a.Store.Restore(id); err == nil || !strings.HasPrefix(id, "restore-") {
				continue
			}
			a.Log.Warn("the overlays of a lost restore are removed", logkey.RestoreID, id, logkey.Directory, repo.ScratchDir(id))
			failpoint.Reach("lost restore: before overlays")
			if err := repo.RemoveScratch(ctx, id); err != nil {
				a.Log.Error("the overlays cannot be removed", logkey.RestoreID, id, logkey.Error, err)
			}
			failpoint.Reach("lost restore: overlays removed")
		}
		if err := repo.CloseScratch(ctx); err != nil {
			a.Log.Warn("cannot list a repository", logkey.Error, err)
		}
	}
	return nil
}

// lostRestore fails if nothing proves that a unit is the exporter of a restore. Without a record a name is not enough. The proof is the
// slice, and a qemu-nbd that serves an image of one of our repositories under the export name of that restore.
func lostRestore(u units.Unit, slice string, repositories []*storage.Repository) error {
	name := unitOfRestore.FindStringSubmatch(u.Name)
	image, exportName, ok := qemu.Served(u.Argv)
	switch {
	case name == nil:
		return errors.New("the agent gives no such name")
	case u.Slice != slice:
		return fmt.Errorf("it is in slice %q, not %s", u.Slice, slice)
	case name[3] != "":
		if len(u.Argv) < 2 || u.Argv[1] != restore.ReadFiles {
			return errors.New("its command is not one of the agent's")
		}
		return nil
	case !ok || exportName != name[1]+"-disk"+name[2]:
		return errors.New("its command is not one of the agent's")
	}
	for _, repo := range repositories {
		if strings.HasPrefix(image, repo.Path+"/") {
			return nil
		}
	}
	return fmt.Errorf("its image %s is in none of the repositories", image)
}
