package rpc

import "context"

func call[R any](ctx context.Context, c *Client, method string, params any) (R, error) {
	var result R
	err := c.Call(ctx, method, params, &result)
	return result, err
}

// StartBackup starts a backup of a whole VM and returns once every disk is exported and the SNA has accepted. With a
// RequestID it is safe to repeat after an [*UnreachableError]. An error of [ReasonSNAOutcomeUnknown] names a backup
// that may yet run: look at it with GetBackup.
func (c *Client) StartBackup(ctx context.Context, r StartRequest) (StartResponse, error) {
	return call[StartResponse](ctx, c, MethodBackupStart, r)
}

// GetBackup returns the record of a backup.
func (c *Client) GetBackup(ctx context.Context, backupID string) (Backup, error) {
	return call[Backup](ctx, c, MethodBackupGet, BackupRef{backupID})
}

// ListBackups returns one page of backups, the newest first.
func (c *Client) ListBackups(ctx context.Context, q BackupQuery) (BackupPage, error) {
	return call[BackupPage](ctx, c, MethodBackupList, q)
}

// CancelBackup stops a backup and removes what it made.
func (c *Client) CancelBackup(ctx context.Context, backupID string) (Backup, error) {
	return call[Backup](ctx, c, MethodBackupCancel, BackupRef{backupID})
}

// CompleteDisk reports that one disk was copied whole. It is what SBC does over HTTP.
func (c *Client) CompleteDisk(ctx context.Context, r CompleteRequest) (Backup, error) {
	return call[Backup](ctx, c, MethodBackupComplete, r)
}

// ChangeID tells from which change id the running copy of a disk has to start. It is what SBC asks over HTTP.
func (c *Client) ChangeID(ctx context.Context, vmName string, diskID int) (ChangeIDResponse, error) {
	return call[ChangeIDResponse](ctx, c, MethodBackupChangeID, ChangeIDRequest{vmName, diskID})
}

// PutVM puts a VM on record, in place of one of the same name.
func (c *Client) PutVM(ctx context.Context, vm VM) (VMPut, error) {
	return call[VMPut](ctx, c, MethodVMPut, vm)
}

// GetVM returns a VM.
func (c *Client) GetVM(ctx context.Context, name string) (VM, error) {
	return call[VM](ctx, c, MethodVMGet, VMRef{name})
}

// ListVMs returns one page of VMs by name.
func (c *Client) ListVMs(ctx context.Context, q VMQuery) (VMPage, error) {
	return call[VMPage](ctx, c, MethodVMList, q)
}

// RemoveVM takes a VM off the record. Its restore points stay.
func (c *Client) RemoveVM(ctx context.Context, name string) error {
	return c.Call(ctx, MethodVMRemove, VMRef{name}, nil)
}

// DiscoverVMs asks the SNA which VMs a vCenter has.
func (c *Client) DiscoverVMs(ctx context.Context, r DiscoverRequest) (DiscoverResponse, error) {
	return call[DiscoverResponse](ctx, c, MethodVMDiscover, r)
}

// ListRepositories returns every configured repository.
func (c *Client) ListRepositories(ctx context.Context) (RepositoryList, error) {
	return call[RepositoryList](ctx, c, MethodRepositoryList, None{})
}

// GetRepository returns one repository.
func (c *Client) GetRepository(ctx context.Context, id string) (Repository, error) {
	return call[Repository](ctx, c, MethodRepositoryGet, RepositoryRef{id})
}

// ListExports returns the disks that are being served.
func (c *Client) ListExports(ctx context.Context) (ExportList, error) {
	return call[ExportList](ctx, c, MethodExportList, None{})
}

// Status returns the agent at a glance.
func (c *Client) Status(ctx context.Context) (AgentStatus, error) {
	return call[AgentStatus](ctx, c, MethodAgentStatus, None{})
}
