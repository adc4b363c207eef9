package server

import (
	"context"
	"encoding/json"

	"golang.org/x/sync/singleflight"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/translate"
)

// handlers are the functions of the table: translate from the wire, call the agent once, translate to the wire. Their
// context does not end with the connection.
type handlers struct {
	agent   *agent.Agent
	doctors *singleflight.Group // callers at the same time share one run
}

func (h handlers) backupStart(ctx context.Context, params json.RawMessage) (rpc.StartResponse, error) {
	r, err := translate.StartRequest(params)
	if err != nil {
		return rpc.StartResponse{}, err
	}
	b, err := h.agent.Backups.Start(ctx, r)
	return translate.Started(b), err
}

func (h handlers) backupGet(ctx context.Context, p rpc.BackupRef) (rpc.Backup, error) {
	return translate.BackupWithProgress(ctx, h.agent, p.BackupID)
}

// backupRecord is the last state for a watch of one backup.
func (h handlers) backupRecord(id string) (record.Backup, error) { return h.agent.Records.Backup(id) }

func (h handlers) backupList(ctx context.Context, p rpc.BackupQuery) (rpc.BackupPage, error) {
	list, next, err := h.agent.Records.List(translate.ListQuery(p))
	return translate.BackupsWithProgress(ctx, h.agent, list, next), err
}

func (h handlers) backupCancel(ctx context.Context, p rpc.BackupRef) (rpc.Backup, error) {
	b, err := h.agent.Backups.Cancel(ctx, p.BackupID)
	return translate.Backup(b), err
}

func (h handlers) backupCancelVerify(ctx context.Context, p rpc.BackupRef) (rpc.Backup, error) {
	b, err := h.agent.CancelVerify(ctx, p.BackupID)
	return translate.Backup(b), err
}

func (h handlers) backupCancelMerge(ctx context.Context, p rpc.BackupRef) (rpc.Backup, error) {
	b, err := h.agent.CancelMerge(ctx, p.BackupID)
	return translate.Backup(b), err
}

func (h handlers) backupDelete(ctx context.Context, p rpc.DeleteRequest) (rpc.BackupRef, error) {
	return rpc.BackupRef{BackupID: p.BackupID}, h.agent.Policies.Delete(ctx, p.BackupID, p.MissingOK)
}

func (h handlers) backupChain(ctx context.Context, p rpc.ChainRequest) (rpc.Chain, error) {
	points, err := h.agent.Chain(ctx, p.VMName, p.RepositoryID)
	return translate.Chain(p.VMName, points), err
}

func (h handlers) backupPrune(ctx context.Context, p rpc.PruneRequest) (rpc.PruneReport, error) {
	report, err := h.agent.Policies.Prune(ctx, translate.PruneRequest(p))
	return translate.PruneReport(report, p.DryRun), err
}

func (h handlers) backupSyntheticFull(ctx context.Context, p rpc.BackupRef) (rpc.Backup, error) {
	b, err := h.agent.Merges.SyntheticFull(ctx, p.BackupID)
	return translate.Backup(b), err
}

func (h handlers) backupComplete(ctx context.Context, p rpc.CompleteRequest) (rpc.Backup, error) {
	b, err := h.agent.Clients.Complete(ctx, p.BackupID, p.DiskID, p.ChangeID)
	return translate.Backup(b), err
}

func (h handlers) backupChangeID(_ context.Context, p rpc.ChangeIDRequest) (rpc.ChangeIDResponse, error) {
	answer, err := h.agent.Clients.ChangeID(p.VMName, p.DiskID)
	return translate.ChangeID(answer), err
}

func (h handlers) vmPut(_ context.Context, p rpc.VM) (rpc.VMPut, error) {
	vm := translate.DomainVM(p)
	created, err := h.agent.Inventory.Put(vm)
	return h.grouped(rpc.VMPut{Created: created}, vm), err
}

func (h handlers) vmCheck(_ context.Context, p rpc.VM) (rpc.VMPut, error) {
	vm := translate.DomainVM(p)
	created, unchanged, err := h.agent.Inventory.Check(vm)
	return h.grouped(rpc.VMPut{Created: created, Unchanged: unchanged}, vm), err
}

// grouped adds a VM and its groups to an answer.
func (h handlers) grouped(put rpc.VMPut, vm record.VM) rpc.VMPut {
	put.VM = translate.VM(vm)
	put.Groups, put.Ungrouped = h.agent.Groups.Of(vm)
	return put
}

func (h handlers) vmGet(_ context.Context, p rpc.VMRef) (rpc.VM, error) {
	vm, err := h.agent.Inventory.Get(p.VMName)
	return translate.VM(vm), err
}

func (h handlers) vmList(_ context.Context, p rpc.VMQuery) (rpc.VMPage, error) {
	list, next, err := h.agent.Inventory.List(p.Cursor, p.Limit)
	page := translate.VMPage(list, next)
	if err == nil && p.Backups {
		var of []agent.VMBackups
		of, err = h.agent.BackupsOf(list)
		page.Backups = translate.VMBackups(of)
	}
	return page, err
}

func (h handlers) vmRemove(_ context.Context, p rpc.VMRef) (rpc.VMRef, error) {
	return p, h.agent.Inventory.Remove(p.VMName)
}

func (h handlers) vmDiscover(ctx context.Context, p rpc.DiscoverRequest) (rpc.DiscoverResponse, error) {
	list, err := h.agent.Inventory.Discover(ctx, inventory.DiscoverRequest{VCenter: p.VCenter, Filter: p.Filter, Store: p.Store})
	return translate.Discovered(list), err
}

func (h handlers) repositoryList(ctx context.Context, _ rpc.None) (rpc.RepositoryList, error) {
	return rpc.RepositoryList{Repositories: translate.Repositories(h.agent.RepositoryStatuses(ctx))}, nil
}

func (h handlers) repositoryGet(ctx context.Context, p rpc.RepositoryRef) (rpc.Repository, error) {
	r, err := h.agent.RepositoryStatus(ctx, p.RepositoryID)
	return translate.Repository(r), err
}

func (h handlers) repositoryPause(ctx context.Context, p rpc.PauseRequest) (rpc.PauseState, error) {
	pause, err := h.agent.PauseRepository(ctx, p.RepositoryID, p.Reason)
	if err != nil {
		return rpc.PauseState{}, err
	}
	return h.pauseState(pause.Repository, &pause)
}

func (h handlers) repositoryResume(ctx context.Context, p rpc.RepositoryRef) (rpc.PauseState, error) {
	id, err := h.agent.ResumeRepository(ctx, p.RepositoryID)
	if err != nil {
		return rpc.PauseState{}, err
	}
	return h.pauseState(id, nil)
}

func (h handlers) pauseState(id string, p *record.Pause) (rpc.PauseState, error) {
	list, err := h.agent.Activities()
	return translate.PauseState(id, p, list[id]), err
}

func (h handlers) exportList(ctx context.Context, _ rpc.None) (rpc.ExportList, error) {
	list, err := h.agent.ListExports(ctx)
	return translate.Exports(list), err
}

func (h handlers) restoreStart(ctx context.Context, p rpc.RestoreRequest) (rpc.Restore, error) {
	r, err := h.agent.Restores.Start(ctx, translate.RestoreRequest(p))
	return translate.Restore(r), err
}

func (h handlers) restoreGet(_ context.Context, p rpc.RestoreRef) (rpc.Restore, error) {
	r, err := h.agent.Records.Restore(p.RestoreID)
	w := translate.Restore(r)
	w.Progress = translate.RestoreProgress(h.agent.Restores.Progress(p.RestoreID))
	return w, err
}

// restoreRecord is the last state for a watch of one restore.
func (h handlers) restoreRecord(id string) (record.Restore, error) {
	return h.agent.Records.Restore(id)
}

func (h handlers) restoreList(_ context.Context, p rpc.RestoreQuery) (rpc.RestoreList, error) {
	list, err := h.agent.Restores.List(p.ActiveOnly)
	w := translate.Restores(list)
	for i, r := range w.Restores {
		w.Restores[i].Progress = translate.RestoreProgress(h.agent.Restores.Progress(r.RestoreID))
	}
	return w, err
}

func (h handlers) restoreStop(ctx context.Context, p rpc.RestoreRef) (rpc.Restore, error) {
	r, err := h.agent.Restores.Stop(ctx, p.RestoreID)
	return translate.Restore(r), err
}

func (h handlers) agentStatus(ctx context.Context, _ rpc.None) (rpc.AgentStatus, error) {
	return translate.Status(h.agent.Status(ctx)), nil
}

func (h handlers) agentDoctor(ctx context.Context, _ rpc.None) (rpc.DoctorReport, error) {
	report, _, _ := h.doctors.Do("doctor", func() (any, error) { return doctor.Live(ctx, h.agent), nil })
	return translate.DoctorReport(report.(doctor.Report)), nil
}

func (h handlers) agentLogLevel(_ context.Context, p rpc.LogLevel) (rpc.LogLevel, error) {
	if p.Level != "" {
		if err := h.agent.SetLogLevel(p.Level); err != nil {
			return rpc.LogLevel{}, err
		}
	}
	return rpc.LogLevel{Level: h.agent.LogLevel()}, nil
}
