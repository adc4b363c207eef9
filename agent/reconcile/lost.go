package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/units"
)

// A lostBackup is one whose record was lost with the database. Its data comes from its exporters.
type lostBackup struct {
	backup record.Backup
	leases []record.Lease
}

// AdoptLost looks for exporters that still run, if the database was rebuilt or may have lost its last transaction. It puts their
// backups on record as undoing: they cannot become restore points, because the replies of the SNA and the reports of SBC are lost. As
// long as these exporters serve, SBC copies for nothing, and their ports cannot be leased.
func (r *Reconciler) AdoptLost(ctx context.Context) error {
	if rebuilt, err := r.Store.Rebuilt(); err != nil || !rebuilt {
		return err
	}
	loaded, err := r.Units.List(ctx, export.UnitPrefix)
	if err != nil {
		return fmt.Errorf("looking for exporters of lost backups: %w", err)
	}
	restores, loaded := divide(loaded)
	if err := r.dropLostRestores(ctx, restores); err != nil {
		return err
	}
	lost, left := planLost(loaded, r.Config.Agent.Slice, r.Repositories.All)
	for _, s := range left {
		r.Log.Warn("a unit with the name of an exporter is not ours; it is left alone", logkey.Unit, s.unit, logkey.Reason, s.reason)
	}
	for _, l := range lost {
		if err := r.adopt(ctx, l); err != nil {
			return err
		}
	}
	failpoint.Reach("before the mark of a lost database goes")
	defer failpoint.Reach("after the mark of a lost database went")
	return r.Store.ClearRebuilt()
}

// adopt puts one lost backup on record. If that fails, for example because its restore point is complete, adopt removes its exporters.
// Exporters that the record of an active backup names stay.
func (r *Reconciler) adopt(ctx context.Context, l lostBackup) error {
	vm, err := r.vmOf(filepath.Base(filepath.Dir(l.backup.Directory)))
	if err != nil {
		return err
	}
	l.backup.VM.Name = vm
	known, err := r.Store.Backup(l.backup.ID)
	why := fmt.Errorf("it is %s", known.State)
	if err != nil {
		failpoint.Reach("before adopt")
		why = r.Store.Adopt(l.backup, l.leases)
		failpoint.Reach("after adopt")
		if why == nil {
			r.Watchers.Tell(events.Event{Kind: events.State, Backup: l.backup})
			r.Log.Error("a backup was lost with the database, and is undone", logkey.BackupID, l.backup.ID, logkey.VM, vm)
			return nil
		}
	}
	for _, d := range l.backup.Runs {
		if known.State.Active() && runOf(known, d.Unit) != nil {
			continue
		}
		r.Log.Warn("an orphan exporter is removed", logkey.Unit, d.Unit, logkey.Reason, why)
		failpoint.Reach("lost backup: before unit")
		err := r.Units.Remove(ctx, d.Unit)
		failpoint.Reach("lost backup: unit removed")
		if err != nil {
			r.Log.Error("the exporter cannot be removed", logkey.Unit, d.Unit, logkey.Error, err)
			continue
		}
		r.Metrics.Orphans.Inc()
	}
	return nil
}

// vmOf is the VM whose backups are in a directory of that name. If no VM on record has it, vmOf returns the name of the directory.
func (r *Reconciler) vmOf(directory string) (string, error) {
	for after := ""; ; {
		page, next, err := r.Store.VMs(after, store.MaxPage)
		if err != nil {
			return "", err
		}
		for _, vm := range page {
			if nbd.DirName(vm.Name) == directory {
				return vm.Name, nil
			}
		}
		if after = next; next == "" {
			return directory, nil
		}
	}
}

// planLost finds the backups that the loaded units belong to, and the units that are left alone because nothing proves that they are
// ours. Without a record a name is not enough. The proof is the slice, and a qemu-nbd that serves an image in the place of an image of
// that backup.
func planLost(loaded []units.Unit, slice string, repositories []*storage.Repository) (lost []lostBackup, left []step) {
	found := map[string]*lostBackup{}
	for _, u := range loaded {
		id := export.OwnerOf(u.Name)
		run, lease, err := lostRun(u, slice)
		var repo *storage.Repository
		if err == nil {
			repo, err = repositoryOf(run.Image, id, repositories)
		}
		if err != nil {
			left = append(left, step{action: leaveUnit, backupID: id, unit: u.Name, reason: err.Error()})
			continue
		}
		l := found[id]
		if l == nil {
			l = &lostBackup{backup: newLost(id, repo.ID, filepath.Dir(run.Image), u.StartedAt)}
			found[id] = l
		}
		l.backup.Runs, l.leases = append(l.backup.Runs, run), append(l.leases, lease)
	}
	for _, l := range found {
		slices.SortFunc(l.backup.Runs, func(x, y record.DiskRun) int { return cmp.Compare(x.DiskID, y.DiskID) })
		lost = append(lost, *l)
	}
	slices.SortFunc(lost, func(x, y lostBackup) int { return cmp.Compare(x.backup.ID, y.backup.ID) })
	return lost, left
}

func newLost(id, repo, directory string, since time.Time) record.Backup {
	return record.Backup{
		ID: id, Type: record.Full, Repository: repo, State: record.Undoing, Directory: directory, DirectoryMade: true,
		CreatedAt: since, UpdatedAt: since, CalledAt: since, // the earliest time: SBC may still be running
		Failure: &record.Failure{
			Reason:  string(fault.Internal),
			Message: "backup " + id + " was running when the agent's database was lost",
			Hint:    "start it again; the daemon's journal says what happened to the database",
		},
	}
}

// unitOfDisk parses the name of a unit: backup, disk and nonce.
var unitOfDisk = regexp.MustCompile(`^` + regexp.QuoteMeta(export.UnitPrefix) + `(backup-.+)-disk([0-9]{1,4})-([0-9a-f]{8})$`)

// lostRun is the run of one disk that a unit serves.
func lostRun(u units.Unit, slice string) (record.DiskRun, record.Lease, error) {
	var run record.DiskRun
	name := unitOfDisk.FindStringSubmatch(u.Name)
	if name == nil {
		return run, record.Lease{}, errors.New("the agent gives no such name")
	}
	if u.Slice != slice {
		return run, record.Lease{}, fmt.Errorf("it is in slice %q, not %s", u.Slice, slice)
	}
	image, exportName, ok := qemu.Served(u.Argv)
	if !ok {
		return run, record.Lease{}, errors.New("its command is not one of the agent's")
	}
	_, text, err := net.SplitHostPort(u.ListenAddress)
	if err != nil {
		return run, record.Lease{}, fmt.Errorf("its socket: %w", err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return run, record.Lease{}, fmt.Errorf("its socket listens on %s", u.ListenAddress)
	}
	disk, _ := strconv.Atoi(name[2]) // at most four digits
	run = record.DiskRun{
		DiskID: disk, Port: uint16(port), ExportName: exportName, Image: image, Unit: u.Name, InvocationID: u.InvocationID, PID: u.MainPID,
	}
	return run, record.Lease{Port: run.Port, BackupID: name[1], DiskID: disk, Nonce: name[3], LeasedAt: u.StartedAt}, nil
}

// repositoryOf is the repository of an image, if the image is in the place of an image of the backup.
func repositoryOf(image, backupID string, repositories []*storage.Repository) (*storage.Repository, error) {
	directory := filepath.Dir(image)
	for _, repo := range repositories {
		vm, found := strings.CutPrefix(filepath.Dir(directory), repo.Path+"/")
		if found && repo.Dir(vm, backupID) == directory && !strings.Contains(vm, "/") {
			return repo, nil
		}
	}
	return nil, fmt.Errorf("its image %s is not where images of backup %s are", image, backupID)
}
