package translate

import (
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/catalog"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/rpc"
)

// VM is a VM on the wire.
func VM(vm record.VM) rpc.VM {
	w := rpc.VM{
		VMName: vm.Name, VMContextID: vm.ContextID, InventoryPath: vm.InventoryPath, VCenter: vm.VCenter, Refresh: string(vm.Refresh),
		UUID:           vm.UUID,
		Tags:           vm.Tags,
		BackupInterval: string(vm.BackupInterval),
	}
	for _, d := range vm.Disks {
		w.Disks = append(w.Disks, rpc.Disk{
			DiskID: d.ID, UnitNumber: d.UnitNumber, DeviceKey: d.DeviceKey, CapacityBytes: d.CapacityBytes, Label: d.Label,
		})
	}
	return w
}

// DomainVM is the agent's VM of a VM on the wire.
func DomainVM(w rpc.VM) record.VM {
	vm := record.VM{
		Name: w.VMName, ContextID: w.VMContextID, InventoryPath: w.InventoryPath, VCenter: w.VCenter, Refresh: record.Refresh(w.Refresh),
		UUID:           w.UUID,
		Tags:           w.Tags,
		BackupInterval: record.Interval(w.BackupInterval),
	}
	for _, d := range w.Disks {
		vm.Disks = append(vm.Disks, record.Disk{
			ID: d.DiskID, UnitNumber: d.UnitNumber, DeviceKey: d.DeviceKey, CapacityBytes: d.CapacityBytes, Label: d.Label,
		})
	}
	return vm
}

// VMPage is one page of VMs.
func VMPage(list []record.VM, next string) rpc.VMPage {
	page := rpc.VMPage{VMs: make([]rpc.VM, 0, len(list)), NextCursor: next}
	for _, vm := range list {
		page.VMs = append(page.VMs, VM(vm))
	}
	return page
}

// VMBackups is what is known about the backups of VMs, on the wire.
func VMBackups(list []agent.VMBackups) []rpc.VMBackups {
	w := make([]rpc.VMBackups, 0, len(list))
	for _, of := range list {
		one := rpc.VMBackups{VMName: of.VMName, Overdue: of.Overdue, IntervalSeconds: int64(of.Interval / time.Second)}
		if b := of.Good; b != nil {
			one.LastGood = &rpc.GoodPoint{BackupID: b.ID, RepositoryID: b.Repository, CreatedAt: b.CreatedAt.UTC(), CompletedAt: of.GoodAt.UTC()}
		}
		if b := of.Failed; b != nil {
			one.Failed = &rpc.FailedBackup{BackupID: b.ID, CreatedAt: b.CreatedAt.UTC(), EndedAt: b.EndedAt.UTC(), Failure: failure(b.Failure)}
		}
		if b := of.Active; b != nil {
			one.ActiveBackupID, one.ActiveState = b.ID, rpc.BackupState(b.State)
		}
		w = append(w, one)
	}
	return w
}

// Discovered is the answer to vm.discover.
func Discovered(list []inventory.DiscoveredVM) rpc.DiscoverResponse {
	r := rpc.DiscoverResponse{VMs: make([]rpc.DiscoveredVM, 0, len(list))}
	for _, d := range list {
		r.VMs = append(r.VMs, rpc.DiscoveredVM{VM: VM(d.VM), Stored: d.Stored, Error: d.Error})
	}
	return r
}

// Repository is a repository on the wire.
func Repository(r agent.RepositoryStatus) rpc.Repository {
	return rpc.Repository{
		RepositoryID: r.ID, Path: r.Path, FreeBytes: r.FreeBytes, TotalBytes: r.TotalBytes,
		Cache: r.Cache, AIO: r.AIO, Error: r.Error, RestorePoints: r.RestorePoints, EncryptionKey: r.EncryptionKey,
		State: string(r.State), StuckSince: r.StuckSince, StuckOperation: r.StuckOperation,
		Catalog: catalogOf(r.Catalog), Paused: pauseOf(r.Paused), Activity: activityOf(r.Activity),
	}
}

func pauseOf(p *record.Pause) *rpc.Pause {
	if p == nil {
		return nil
	}
	return &rpc.Pause{Since: p.Since.UTC().Truncate(time.Second), Reason: p.Reason}
}

func activityOf(a agent.Activity) rpc.Activity {
	return rpc.Activity{Backups: a.Backups, Queued: a.Queued, Restores: a.Restores, Merges: a.Merges, Verifications: a.Verifications}
}

// PauseState is the answer to repository.pause and repository.resume; p is nil for a repository that is not paused.
func PauseState(repository string, p *record.Pause, a agent.Activity) rpc.PauseState {
	return rpc.PauseState{RepositoryID: repository, Paused: pauseOf(p), Activity: activityOf(a)}
}

func catalogOf(s catalog.State) rpc.Catalog {
	c := rpc.Catalog{
		ComparedAt: s.At.UTC().Truncate(time.Second), Error: s.Error,
		Unrecorded: s.Unrecorded, Missing: s.Missing, Different: s.Different,
		Others: s.Others, Examples: s.Examples, Importing: s.Importing, Waiting: s.Waiting, Import: importOf(s.Imported),
	}
	for _, d := range s.Named {
		c.Differences = append(c.Differences, rpc.CatalogDifference{Kind: string(d.Kind), BackupID: d.BackupID, Directory: d.Path, Reason: d.Reason})
	}
	return c
}

func importOf(i *record.Import) *rpc.CatalogImport {
	if i == nil {
		return nil
	}
	w := &rpc.CatalogImport{At: i.At.UTC().Truncate(time.Second), RestorePoints: i.Points, VMs: i.VMs, ProblemCount: i.Problems}
	for _, p := range i.Named {
		w.Problems = append(w.Problems, rpc.CatalogProblem(p))
	}
	return w
}

// Repositories are the repositories on the wire.
func Repositories(list []agent.RepositoryStatus) []rpc.Repository {
	w := make([]rpc.Repository, 0, len(list))
	for _, r := range list {
		w = append(w, Repository(r))
	}
	return w
}

// Exports is the answer to export.list.
func Exports(list []agent.Export) rpc.ExportList {
	w := rpc.ExportList{Exports: make([]rpc.Export, 0, len(list))}
	for _, e := range list {
		w.Exports = append(w.Exports, rpc.Export{
			BackupID: e.BackupID, RestoreID: e.RestoreID, VMName: e.VMName, DiskID: e.DiskID, NBDPort: e.Port, NBDExportName: e.ExportName,
			Unit: e.Unit, UnitState: e.UnitState, QemuNBDPID: e.PID, ReceivedBytes: e.ReceivedBytes, SentBytes: e.SentBytes, Clients: e.Clients,
		})
	}
	return w
}

// Status is the state of the agent on the wire.
func Status(s agent.Status) rpc.AgentStatus {
	differences := 0
	for _, r := range s.Repositories {
		differences += r.Catalog.Differences()
	}
	return rpc.AgentStatus{
		Version:        s.Version,
		StartedAt:      s.StartedAt.UTC(),
		BusConnected:   s.BusConnected,
		SNAURL:         s.SNAURL,
		VCenters:       s.VCenters,
		Warnings:       s.Warnings,
		ActiveBackups:  s.ActiveBackups,
		ActiveRestores: s.ActiveRestores,
		VMs:            s.VMs,
		Ports:          rpc.PortCounts{Total: s.PortsTotal, Leased: s.PortsLeased, Cooling: s.PortsCooling, Foreign: s.PortsForeign},
		Repositories:   Repositories(s.Repositories),

		HeldPrunes: HeldPrunes(s.HeldPrunes), FutureRestorePoints: s.FuturePoints, FutureBackupIDs: s.FutureIDs,
		CatalogDifferences: differences,
		State: rpc.State{
			Directory: s.State.Directory, FreeBytes: s.State.FreeBytes, Error: s.State.Error, Hint: s.State.Hint, SetAside: s.State.SetAside,
		},
	}
}
