package server

import (
	"context"
	"encoding/json"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/translate"
)

// handlers are the functions of the table: wire to domain, one call of the agent, domain to wire. Their context does
// not end with the connection.
type handlers struct{ agent *agent.Agent }

func (h handlers) backupStart(ctx context.Context, params json.RawMessage) (rpc.StartResponse, error) {
	r, err := translate.StartRequest(params)
	if err != nil {
		return rpc.StartResponse{}, err
	}
	b, err := h.agent.StartBackup(ctx, r)
	return translate.Started(b), err
}

func (h handlers) backupGet(ctx context.Context, p rpc.BackupRef) (rpc.Backup, error) {
	return translate.BackupWithProgress(ctx, h.agent, p.BackupID)
}

func (h handlers) backupList(_ context.Context, p rpc.BackupQuery) (rpc.BackupPage, error) {
	list, next, err := h.agent.Backups(translate.ListQuery(p))
	return translate.BackupPage(list, next), err
}

func (h handlers) backupCancel(ctx context.Context, p rpc.BackupRef) (rpc.Backup, error) {
	b, err := h.agent.CancelBackup(ctx, p.BackupID)
	return translate.Backup(b), err
}

func (h handlers) backupComplete(ctx context.Context, p rpc.CompleteRequest) (rpc.Backup, error) {
	b, err := h.agent.CompleteDisk(ctx, p.BackupID, p.DiskID, p.ChangeID)
	return translate.Backup(b), err
}

func (h handlers) backupChangeID(_ context.Context, p rpc.ChangeIDRequest) (rpc.ChangeIDResponse, error) {
	answer, err := h.agent.ChangeID(p.VMName, p.DiskID)
	return translate.ChangeID(answer), err
}

func (h handlers) vmPut(_ context.Context, p rpc.VM) (rpc.VMPut, error) {
	vm := translate.DomainVM(p)
	created, err := h.agent.PutVM(vm)
	return rpc.VMPut{Created: created, VM: translate.VM(vm)}, err
}

func (h handlers) vmGet(_ context.Context, p rpc.VMRef) (rpc.VM, error) {
	vm, err := h.agent.VM(p.VMName)
	return translate.VM(vm), err
}

func (h handlers) vmList(_ context.Context, p rpc.VMQuery) (rpc.VMPage, error) {
	list, next, err := h.agent.VMs(p.Cursor, p.Limit)
	return translate.VMPage(list, next), err
}

func (h handlers) vmRemove(_ context.Context, p rpc.VMRef) (rpc.VMRef, error) {
	return p, h.agent.RemoveVM(p.VMName)
}

func (h handlers) vmDiscover(ctx context.Context, p rpc.DiscoverRequest) (rpc.DiscoverResponse, error) {
	list, err := h.agent.DiscoverVMs(ctx, agent.DiscoverRequest{VCenter: p.VCenter, Filter: p.Filter, Store: p.Store})
	return translate.Discovered(list), err
}

func (h handlers) repositoryList(context.Context, rpc.None) (rpc.RepositoryList, error) {
	return rpc.RepositoryList{Repositories: translate.Repositories(h.agent.Repositories())}, nil
}

func (h handlers) repositoryGet(_ context.Context, p rpc.RepositoryRef) (rpc.Repository, error) {
	r, err := h.agent.Repository(p.RepositoryID)
	return translate.Repository(r), err
}

func (h handlers) exportList(ctx context.Context, _ rpc.None) (rpc.ExportList, error) {
	list, err := h.agent.Exports(ctx)
	return translate.Exports(list), err
}

func (h handlers) agentStatus(ctx context.Context, _ rpc.None) (rpc.AgentStatus, error) {
	return translate.Status(h.agent.Status(ctx)), nil
}
