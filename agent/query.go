package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd/qemu"
	"github.com/sendense/backup-agent/nbd/sockets"
	"github.com/sendense/backup-agent/units"
)

// RepositoryStatuses returns the present state of every configured repository, in the order of the configuration.
func (a *Agent) RepositoryStatuses(ctx context.Context) []RepositoryStatus {
	points, pauses := a.countPoints(), a.pauses()
	activities, err := a.Activities()
	if err != nil {
		a.log.Error("the database cannot be read", logkey.Error, err)
	}
	list := make([]RepositoryStatus, len(a.Repositories.All))
	var wait sync.WaitGroup
	for i, r := range a.Repositories.All {
		wait.Go(func() {
			list[i] = a.repositoryStatus(ctx, r)
			list[i].RestorePoints, list[i].Paused, list[i].Activity = points[r.ID], pauses[r.ID], activities[r.ID]
		})
	}
	wait.Wait()
	return list
}

// RepositoryStatus returns the present state of one configured repository; the empty id is the default one. It fails with reason
// RepositoryNotFound if the repository is not configured.
func (a *Agent) RepositoryStatus(ctx context.Context, id string) (RepositoryStatus, error) {
	r, err := a.Repositories.Find(id)
	if err != nil {
		return RepositoryStatus{}, err
	}
	activities, err := a.Activities()
	if err != nil {
		return RepositoryStatus{}, err
	}
	s := a.repositoryStatus(ctx, r)
	s.RestorePoints, s.Paused, s.Activity = a.countPoints()[r.ID], a.pauses()[r.ID], activities[r.ID]
	return s, nil
}

// countPoints returns how many restore points each repository has on record.
func (a *Agent) countPoints() map[string]int {
	points, err := a.store.Points()
	if err != nil {
		a.log.Error("the database cannot be read", logkey.Error, err)
	}
	return points
}

// repositoryStatus returns the present state of a repository within seconds, whatever hangs.
func (a *Agent) repositoryStatus(ctx context.Context, r *storage.Repository) RepositoryStatus {
	s := RepositoryStatus{ID: r.ID, Path: r.Path, EncryptionKey: a.Repositories.NewKey(r), Catalog: a.Catalog.States.Of(r.ID)}
	err := a.measureRepository(storage.FailFast(ctx), r, &s)
	if err != nil {
		s.Error = err.Error()
	}
	health := r.Health()
	s.State = health.State
	var stuck *storage.StuckError
	if errors.As(err, &stuck) { // it may not be overdue yet, but somebody has waited for it in vain
		s.State, s.StuckSince, s.StuckOperation = storage.Stuck, stuck.Since, stuck.Operation
	}
	return s
}

func (a *Agent) measureRepository(ctx context.Context, r *storage.Repository, s *RepositoryStatus) error {
	space, err := r.Space(ctx)
	if err != nil {
		return err
	}
	s.FreeBytes, s.TotalBytes = space.Free, space.Total
	mode, _, err := r.Images(qemu.Secret{}).DetectIO(ctx)
	if err != nil {
		return err
	}
	s.Cache, s.AIO = mode.Cache, mode.AIO
	return a.Repositories.CheckNewKey(r)
}

// ListExports lists every disk that is being served: first those of backups, then those of restores.
func (a *Agent) ListExports(ctx context.Context) ([]Export, error) {
	active, err := a.store.Active()
	if err != nil {
		return nil, ledger.NotFound(err)
	}
	asked, cancel := context.WithTimeout(ctx, export.BusTimeout)
	defer cancel()
	loaded, err := a.Exports.List(asked, "")
	if err != nil {
		return nil, fault.From(err)
	}
	restores, err := a.store.ActiveRestores()
	if err != nil {
		return nil, ledger.NotFound(err)
	}
	clients, err := sockets.Clients()
	if err != nil {
		return nil, fault.From(err)
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

// observe fills in the state of the unit.
func (e *Export) observe(u units.Unit, there bool, clients int) {
	e.Unit += ".service"
	if e.UnitState = "not loaded"; !there {
		return
	}
	e.UnitState, e.PID, e.ReceivedBytes, e.SentBytes = u.ActiveState+"/"+u.SubState, u.MainPID, u.ReceivedBytes, u.SentBytes
	e.Clients = clients
}

// WarnZeroes is the warning about sna.accept_write_zeroes.
const WarnZeroes = "sna.accept_write_zeroes is set: full backups lose data if the node's client asks for zeroes that it has not read"

// Status returns an overview of the agent. What cannot be read is zero; the log has the error.
func (a *Agent) Status(ctx context.Context) Status {
	s := Status{
		Version: a.version, StartedAt: a.startedAt, SNAURL: a.config.SNA.URL, VCenters: slices.Sorted(maps.Keys(a.config.VCenters)),
		PortsTotal: a.Ports.Range.Len(),
	}
	var wait sync.WaitGroup // several may hang, and each takes some seconds then
	wait.Go(func() { s.BusConnected = a.busAnswers(ctx) })
	wait.Go(func() { s.Repositories = a.RepositoryStatuses(ctx) })
	wait.Go(func() { s.State = a.stateStatus(ctx) })
	wait.Wait()
	if a.Exports.AcceptsZeroes() {
		s.Warnings = append(s.Warnings, WarnZeroes)
	}
	counts, err := a.store.Counts(time.Now())
	if err != nil {
		a.log.Error("the database cannot be read", logkey.Error, err)
		return s
	}
	s.clock(a)
	s.ActiveBackups, s.ActiveRestores, s.VMs = counts.Active, counts.Restores, counts.VMs
	ports, err := a.countPorts()
	if err != nil {
		a.log.Error("cannot count the ports by use", logkey.Error, err)
		return s
	}
	s.PortsLeased, s.PortsCooling, s.PortsForeign = ports[portLeased], ports[portCooling], ports[portForeign]
	return s
}

// clock fills in held prunes and restore points dated in the future.
func (s *Status) clock(a *Agent) {
	var points []record.Backup
	held, err := a.Policies.HeldPrunes()
	if err == nil {
		s.HeldPrunes = held
		points, s.FuturePoints, err = a.Records.FuturePoints()
	}
	if err != nil {
		a.log.Error("cannot list restore points dated in the future and held prunes", logkey.Error, err)
	}
	for _, b := range points {
		s.FutureIDs = append(s.FutureIDs, b.ID)
	}
}

// busAnswers reports whether systemd answers within 2 seconds.
func (a *Agent) busAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := a.units.List(ctx, export.UnitPrefix+"none-") // no unit has this prefix, so the list is empty
	return err == nil
}
