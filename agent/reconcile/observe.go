package reconcile

import (
	"context"
	"errors"
	"slices"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
)

// newObserved returns an observation without any findings.
func (r *Reconciler) newObserved() observed {
	return observed{
		slice: r.Config.Agent.Slice, bootID: r.BootID, records: map[string]record.Backup{}, removed: map[string]string{},
		restores: map[string]record.Restore{},
	}
}

// observeUnits lists the units with our prefix. It runs before the records are read: every unit has its record before it is started.
func (r *Reconciler) observeUnits(w *observed) error {
	ctx, cancel := context.WithTimeout(r.Jobs.Work, listTimeout)
	defer cancel()
	var err error
	if w.units, err = r.Units.ListBrief(ctx, export.UnitPrefix); err != nil {
		return err
	}
	w.leases, err = r.Store.Leases()
	return err
}

// observeDirectories lists the directories without a manifest in the repositories, and the interrupted deletions. A repository that
// cannot be listed is logged, and left for the next time.
func (r *Reconciler) observeDirectories(w *observed) error {
	w.directories = []directory{}
	for _, repo := range r.Repositories.All {
		list, err := repo.Unpublished(storage.UntilStuck(r.Jobs.Work))
		if err != nil {
			r.Log.Warn("cannot list a repository", logkey.Error, err)
		}
		for _, u := range list {
			w.directories = append(w.directories, directory{
				repository: repo.ID, vm: u.VM, backupID: u.BackupID, path: repo.Dir(u.VM, u.BackupID), empty: u.Empty,
			})
		}
	}
	deleting, _, err := r.Store.Backups(store.Query{State: record.Deleting, Limit: store.MaxPage})
	for _, b := range deleting {
		w.records[b.ID] = b
	}
	return errors.Join(err, r.observeScratch(w), r.observeMerges(w))
}

// observeMerges finds the interrupted merges, and the directories that merges left.
func (r *Reconciler) observeMerges(w *observed) error {
	for _, repo := range r.Repositories.All {
		list, err := repo.Merges(storage.UntilStuck(r.Jobs.Work))
		if err != nil {
			r.Log.Warn("cannot list a repository", logkey.Error, err)
		}
		for _, u := range list {
			w.mergeDirs = append(w.mergeDirs, directory{
				repository: repo.ID, vm: u.VM, backupID: u.BackupID, path: repo.MergeDir(u.VM, u.BackupID),
			})
		}
	}
	marked, err := r.Store.Merges()
	live := r.Merges.Active.List()
	w.cutMerges = slices.DeleteFunc(marked, func(b record.Backup) bool { return live[b.ID] != nil })
	w.mergeDirs = slices.DeleteFunc(w.mergeDirs, func(d directory) bool { return live[d.backupID] != nil })
	return err
}

// observeRecords reads the records of everything that was found, and finds the active backups without a job.
func (r *Reconciler) observeRecords(w *observed) error {
	if err := r.observeRestores(w); err != nil {
		return err
	}
	names := map[string]bool{}
	for _, u := range w.units {
		if !export.IsRestore(u.Name) {
			names[export.OwnerOf(u.Name)] = true
		}
	}
	for _, l := range w.leases {
		if l.RestoreID == "" {
			names[l.BackupID] = true
		}
	}
	for _, d := range slices.Concat(w.directories, w.mergeDirs) {
		names[d.backupID] = true
	}
	for id := range names {
		b, err := r.Store.Backup(id)
		if err == nil {
			w.records[id] = b
			continue
		}
		if !fault.From(ledger.NotFound(err)).Has(fault.BackupNotFound) {
			return err
		}
		if w.removed[id], err = r.Store.RemovedFrom(id); err != nil {
			return err
		}
	}
	var err error
	w.idle, err = r.idle()
	return err
}

// idle lists the active backups without a job: those that an earlier agent left. No backup can be launched meanwhile.
func (r *Reconciler) idle() (idle []record.Backup, err error) {
	if err := r.Admission.Turn.Acquire(r.Jobs.Work, 1); err != nil {
		return nil, job.ErrClosed()
	}
	defer r.Admission.Turn.Release(1)
	live := r.Backups.Active.List() // before the records: a job ends after its record stops being active
	active, err := r.Store.Active()
	for _, b := range active {
		if live[b.ID] == nil {
			idle = append(idle, b)
		}
	}
	return idle, err
}
