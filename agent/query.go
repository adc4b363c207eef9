package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd/sockets"
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
	case missing.Kind == store.KindRestore:
		return errorf(RestoreNotFound, "restore %q is not on record", missing.Name)
	}
	return errorf(BackupNotFound, "backup %q is not on record", missing.Name)
}

// Backup returns the record of a backup.
func (a *Agent) Backup(id string) (record.Backup, error) {
	b, err := a.store.Backup(id)
	return b, notFound(err)
}

// Backups lists records, newest first; next is the cursor of the following page, "" at the end. Of one repository's
// backups a page may be short although there is a next one.
func (a *Agent) Backups(q ListQuery) (list []record.Backup, next string, err error) {
	if q.Limit, err = pageSize(q.Limit); err != nil {
		return nil, "", err
	}
	list, next, err = a.store.Backups(q)
	if errors.Is(err, store.ErrBadCursor) || errors.Is(err, store.ErrBadTime) {
		return nil, "", errorf(InvalidRequest, "%w", err)
	}
	return list, next, notFound(err)
}

// Repositories tells of every configured repository as it is now.
func (a *Agent) Repositories() []RepositoryStatus {
	points := a.countPoints()
	list := make([]RepositoryStatus, len(a.repositories))
	var wait sync.WaitGroup
	for i, r := range a.repositories {
		wait.Go(func() {
			list[i] = a.patientStatus(r)
			list[i].RestorePoints = points[r.ID]
		})
	}
	wait.Wait()
	return list
}

// Repository tells of one configured repository.
func (a *Agent) Repository(id string) (RepositoryStatus, error) {
	r, err := a.findRepository(id)
	if err != nil {
		return RepositoryStatus{}, err
	}
	s := a.patientStatus(r)
	s.RestorePoints = a.countPoints()[r.ID]
	return s, nil
}

// countPoints is how many restore points each repository has on record.
func (a *Agent) countPoints() map[string]int {
	points, err := a.store.Points()
	if err != nil {
		a.log.Error("the database cannot be read", logError, err)
	}
	return points
}

// patientStatus is repositoryStatus for no longer than probeTimeout: a network file system may hang.
func (a *Agent) patientStatus(r *repository.Repository) RepositoryStatus {
	s, err := probe(context.Background(), &a.statuses, r.Path, func(context.Context) (RepositoryStatus, error) { return a.repositoryStatus(r), nil })
	if err != nil {
		s = RepositoryStatus{ID: r.ID, Path: r.Path, EncryptionKey: a.newKey(r), Catalog: a.catalogs.of(r.ID), Error: err.Error()}
	}
	return s
}

func (a *Agent) repositoryStatus(r *repository.Repository) RepositoryStatus {
	s := RepositoryStatus{ID: r.ID, Path: r.Path, EncryptionKey: a.newKey(r), Catalog: a.catalogs.of(r.ID)}
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
	if err := a.checkNewKey(r); err != nil {
		s.Error = err.Error()
	}
	return s
}

// Exports lists every disk that is being served.
func (a *Agent) Exports(ctx context.Context) ([]Export, error) {
	active, err := a.store.Active()
	if err != nil {
		return nil, notFound(err)
	}
	loaded, err := a.exporters(ctx, "")
	if err != nil {
		return nil, AsError(err)
	}
	restores, err := a.store.ActiveRestores()
	if err != nil {
		return nil, notFound(err)
	}
	clients, err := sockets.Clients()
	if err != nil {
		return nil, AsError(err)
	}
	var list []Export
	for _, b := range active {
		for _, d := range b.Runs {
			list = append(list, Export{
				BackupID: b.ID, VMName: b.VM.Name, DiskID: d.DiskID, Port: d.Port, ExportName: d.ExportName, Unit: d.Unit,
			})
		}
	}
	for _, r := range restores {
		for _, d := range r.Disks {
			list = append(list, Export{
				BackupID: r.BackupID, RestoreID: r.ID, VMName: r.VMName, DiskID: d.DiskID, Port: d.Port, ExportName: d.ExportName, Unit: d.Unit,
			})
		}
	}
	for i := range list {
		u, there := loaded[list[i].Unit]
		list[i].observe(u, there, clients[list[i].Port])
	}
	return list, nil
}

// observe fills in how the unit of an export does.
func (e *Export) observe(u units.Unit, there bool, clients int) {
	e.Unit += ".service"
	if e.UnitState = "not loaded"; !there {
		return
	}
	e.UnitState, e.PID, e.ReceivedBytes, e.SentBytes = u.ActiveState+"/"+u.SubState, u.MainPID, u.ReceivedBytes, u.SentBytes
	e.Clients = clients
}

// AcceptsZeroes is sna.accept_write_zeroes as it is now.
func (a *Agent) AcceptsZeroes() bool { return a.acceptZeroes.Load() }

// WarnZeroes tells what sna.accept_write_zeroes risks.
const WarnZeroes = "sna.accept_write_zeroes is set: full backups lose data if the node's client asks for zeroes that it has not read"

// Status tells how the agent does.
func (a *Agent) Status(ctx context.Context) Status {
	s := Status{
		Version: a.version, StartedAt: a.startedAt, SNAURL: a.config.SNA.URL, BusConnected: a.busAnswers(ctx),
		VCenters: slices.Sorted(maps.Keys(a.config.VCenters)), PortsTotal: a.ports.Len(), Repositories: a.Repositories(),
		State: a.stateStatus(ctx),
	}
	if a.AcceptsZeroes() {
		s.Warnings = append(s.Warnings, WarnZeroes)
	}
	counts, err := a.store.Counts(time.Now())
	if err != nil {
		a.log.Error("the database cannot be read", logError, err)
		return s
	}
	s.clock(a)
	s.ActiveBackups, s.ActiveRestores, s.VMs = counts.Active, counts.Restores, counts.VMs
	ports, err := a.countPorts()
	if err != nil {
		a.log.Error("what the ports are used for cannot be told", logError, err)
		return s
	}
	s.PortsLeased, s.PortsCooling, s.PortsForeign = ports[portLeased], ports[portCooling], ports[portForeign]
	return s
}

// clock tells what wrong clocks have led to.
func (s *Status) clock(a *Agent) {
	var points []record.Backup
	held, err := a.HeldPrunes()
	if err == nil {
		s.HeldPrunes = held
		points, s.FuturePoints, err = a.FuturePoints()
	}
	if err != nil {
		a.log.Error("which restore points are dated in the future, and which prunes are held, cannot be told", logError, err)
	}
	for _, b := range points {
		s.FutureIDs = append(s.FutureIDs, b.ID)
	}
}

// busAnswers says whether systemd can be spoken to.
func (a *Agent) busAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := a.units.List(ctx, unitPrefix+"none-") // no unit of ours is called so: there is nothing to read
	return err == nil
}
