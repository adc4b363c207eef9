package agent

import (
	"context"
	"errors"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/units"
)

// Pages of a list.
const (
	defaultPage = 100
	maxPage     = 1000
)

func pageSize(limit int) (int, error) {
	switch {
	case limit == 0:
		return defaultPage, nil
	case limit < 0 || limit > maxPage:
		return 0, errorf(InvalidRequest, "limit %d: want 1 to %d", limit, maxPage)
	}
	return limit, nil
}

// notFound translates the store's errors for a caller; nil stays nil.
func notFound(err error) error {
	var missing *store.NotFoundError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &missing):
		return AsError(err)
	case missing.Kind == store.KindVM:
		e := errorf(VMNotFound, "vm %q is not on record", missing.Name)
		e.Hint = "vm.list names the ones that are; register it with vm.put or vm.discover"
		return e
	}
	return errorf(BackupNotFound, "backup %q is not on record", missing.Name)
}

// Backup returns the record of a backup.
func (a *Agent) Backup(id string) (backup.Backup, error) {
	b, err := a.store.Backup(id)
	return b, notFound(err)
}

// Backups lists records, newest first; next is the cursor of the following page, "" at the end.
func (a *Agent) Backups(q ListQuery) (list []backup.Backup, next string, err error) {
	if q.Limit, err = pageSize(q.Limit); err != nil {
		return nil, "", err
	}
	list, next, err = a.store.Backups(store.Query{VMName: q.VMName, State: q.State, Cursor: q.Cursor, Limit: q.Limit})
	if errors.Is(err, store.ErrBadCursor) {
		return nil, "", errorf(InvalidRequest, "%w", err)
	}
	return list, next, notFound(err)
}

// Repositories tells of every configured repository as it is now.
func (a *Agent) Repositories() []RepositoryStatus {
	list := make([]RepositoryStatus, len(a.repositories))
	for i, r := range a.repositories {
		list[i] = repositoryStatus(r)
	}
	return list
}

// Repository tells of one configured repository.
func (a *Agent) Repository(id string) (RepositoryStatus, error) {
	r, err := a.findRepository(id)
	if err != nil {
		return RepositoryStatus{}, err
	}
	return repositoryStatus(r), nil
}

func repositoryStatus(r *repository.Repository) RepositoryStatus {
	s := RepositoryStatus{ID: r.ID, Path: r.Path}
	space, err := r.Space()
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.FreeBytes, s.TotalBytes = space.Free, space.Total
	mode, err := r.IOMode()
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.Cache, s.AIO = mode.Cache, mode.AIO
	return s
}

// Exports lists every disk that is being served.
func (a *Agent) Exports(ctx context.Context) ([]Export, error) {
	active, err := a.store.Active()
	if err != nil {
		return nil, notFound(err)
	}
	var list []Export
	for _, b := range active {
		for _, d := range b.Runs {
			e, err := a.describeExport(ctx, b, d)
			if err != nil {
				return nil, AsError(err)
			}
			list = append(list, e)
		}
	}
	return list, nil
}

func (a *Agent) describeExport(ctx context.Context, b backup.Backup, d backup.DiskRun) (Export, error) {
	e := Export{
		BackupID: b.ID, VMName: b.VM.Name, DiskID: d.DiskID, Port: d.Port,
		ExportName: d.ExportName, Unit: d.Unit + ".service", UnitState: "not loaded",
	}
	u, err := a.units.Get(ctx, d.Unit)
	if errors.Is(err, units.ErrNotFound) {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	e.UnitState, e.PID, e.ReceivedBytes = u.ActiveState+"/"+u.SubState, u.MainPID, u.ReceivedBytes
	e.Clients, err = nbd.Established(d.Port)
	return e, err
}

// Status tells how the agent does.
func (a *Agent) Status(ctx context.Context) Status {
	s := Status{
		Version: a.version, StartedAt: a.startedAt, SNAURL: a.config.SNA.URL, BusConnected: a.busAnswers(ctx),
		PortsTotal: a.ports.Len(), PortsForeign: a.foreign.count(), Repositories: a.Repositories(),
	}
	counts, err := a.store.Counts(time.Now())
	if err != nil {
		a.log.Error("the database cannot be read", logError, err)
		return s
	}
	s.ActiveBackups, s.VMs = counts.Active, counts.VMs
	s.PortsLeased, s.PortsCooling = counts.Leases, counts.CoolingPorts
	return s
}

// busAnswers says whether systemd can be spoken to.
func (a *Agent) busAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := a.units.List(ctx, unitPrefix)
	return err == nil
}
