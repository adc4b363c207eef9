package rpc

import "context"

func call[R any](ctx context.Context, c *Client, method string, params any) (R, error) {
	var result R
	err := c.Call(ctx, method, params, &result)
	return result, err
}

// StartBackup starts a backup of a whole VM. It returns when every disk is exported and the SNA has accepted the start. With
// a RequestID it is safe to repeat after an [*UnreachableError]. An error of [ReasonSNAOutcomeUnknown] names a backup that
// may still run: look at it with GetBackup.
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

// DeleteBackup deletes a backup that has ended: its restore point and its record.
func (c *Client) DeleteBackup(ctx context.Context, r DeleteRequest) error {
	_, err := call[BackupRef](ctx, c, MethodBackupDelete, r)
	return err
}

// VerifyBackup verifies a restore point and its chain, and returns the result when the verification has ended. progress, which
// may be nil, is called about once a second. The end of the context stops the waiting only; CancelVerify stops the
// verification.
func (c *Client) VerifyBackup(ctx context.Context, r VerifyRequest, progress func(VerifyProgress)) (VerifyReport, error) {
	if r.Progress = progress != nil; r.Progress {
		defer c.progress.add(r.BackupID, progress)()
	}
	return call[VerifyReport](ctx, c, MethodBackupVerify, r)
}

// Chain returns the restore points of a VM, the oldest first.
func (c *Client) Chain(ctx context.Context, r ChainRequest) (Chain, error) {
	return call[Chain](ctx, c, MethodBackupChain, r)
}

// Prune applies the retention policies and returns when that is done. Merges take long. The prune continues when the caller
// does not wait.
func (c *Client) Prune(ctx context.Context, r PruneRequest) (PruneReport, error) {
	return call[PruneReport](ctx, c, MethodBackupPrune, r)
}

// SyntheticFull makes a full backup of an incremental and its chain, by a merge in the repository, and returns when that is done.
// It continues when the caller does not wait; CancelMerge stops it. GetBackup returns its progress.
func (c *Client) SyntheticFull(ctx context.Context, backupID string) (Backup, error) {
	return call[Backup](ctx, c, MethodBackupSyntheticFull, BackupRef{backupID})
}

// ConsolidateBackup is the old name of [Client.SyntheticFull], for agents that know no other.
//
// Deprecated: Use SyntheticFull.
func (c *Client) ConsolidateBackup(ctx context.Context, backupID string) (Backup, error) {
	return call[Backup](ctx, c, MethodBackupConsolidate, BackupRef{backupID})
}

// CancelBackup cancels an active backup and removes what it made. It also stops a merge or a verification of a restore point,
// which is deprecated: use CancelMerge or CancelVerify.
func (c *Client) CancelBackup(ctx context.Context, backupID string) (Backup, error) {
	return call[Backup](ctx, c, MethodBackupCancel, BackupRef{backupID})
}

// CancelVerify stops the verifications of a restore point that were asked for, for all callers that wait for them. Without one in
// progress the error is of [ReasonWrongState].
func (c *Client) CancelVerify(ctx context.Context, backupID string) (Backup, error) {
	return call[Backup](ctx, c, MethodBackupCancelVerify, BackupRef{backupID})
}

// CancelMerge stops the merge of a restore point, which stays as it is. Without one in progress the error is of
// [ReasonWrongState].
func (c *Client) CancelMerge(ctx context.Context, backupID string) (Backup, error) {
	return call[Backup](ctx, c, MethodBackupCancelMerge, BackupRef{backupID})
}

// CompleteDisk reports that one disk is complete. SBC does that over HTTP.
func (c *Client) CompleteDisk(ctx context.Context, r CompleteRequest) (Backup, error) {
	return call[Backup](ctx, c, MethodBackupComplete, r)
}

// ChangeID returns the change id since which the active backup copies a disk. SBC asks for it over HTTP.
func (c *Client) ChangeID(ctx context.Context, vmName string, diskID int) (ChangeIDResponse, error) {
	return call[ChangeIDResponse](ctx, c, MethodBackupChangeID, ChangeIDRequest{vmName, diskID})
}

// PutVM puts a VM on record. It replaces a VM of the same name.
func (c *Client) PutVM(ctx context.Context, vm VM) (VMPut, error) {
	return call[VMPut](ctx, c, MethodVMPut, vm)
}

// CheckVM says what PutVM would do with a VM, and changes nothing.
func (c *Client) CheckVM(ctx context.Context, vm VM) (VMPut, error) {
	return call[VMPut](ctx, c, MethodVMCheck, vm)
}

// GetVM returns a VM.
func (c *Client) GetVM(ctx context.Context, name string) (VM, error) {
	return call[VM](ctx, c, MethodVMGet, VMRef{name})
}

// ListVMs returns one page of VMs by name.
func (c *Client) ListVMs(ctx context.Context, q VMQuery) (VMPage, error) {
	return call[VMPage](ctx, c, MethodVMList, q)
}

// RemoveVM removes the record of a VM. Its restore points stay.
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

// PauseRepository pauses a repository for maintenance: nothing new starts there, and what runs ends by itself. The pause survives a
// restart of the agent. A repository that is paused already stays paused.
func (c *Client) PauseRepository(ctx context.Context, r PauseRequest) (PauseState, error) {
	return call[PauseState](ctx, c, MethodRepositoryPause, r)
}

// ResumeRepository ends the pause of a repository. It is no error if the repository is not paused.
func (c *Client) ResumeRepository(ctx context.Context, id string) (PauseState, error) {
	return call[PauseState](ctx, c, MethodRepositoryResume, RepositoryRef{id})
}

// ListExports returns the disks that are exported now.
func (c *Client) ListExports(ctx context.Context) (ExportList, error) {
	return call[ExportList](ctx, c, MethodExportList, None{})
}

// StartRestore serves a restore point over NBD and returns when every export answers. If the answer was lost, the restore is in
// the list of restores, and ends when its lifetime is over.
func (c *Client) StartRestore(ctx context.Context, r RestoreRequest) (Restore, error) {
	return call[Restore](ctx, c, MethodRestoreStart, r)
}

// GetRestore returns the record of a restore.
func (c *Client) GetRestore(ctx context.Context, restoreID string) (Restore, error) {
	return call[Restore](ctx, c, MethodRestoreGet, RestoreRef{restoreID})
}

// ListRestores returns the active restores and, unless only those are asked for, the last ones that have ended.
func (c *Client) ListRestores(ctx context.Context, q RestoreQuery) (RestoreList, error) {
	return call[RestoreList](ctx, c, MethodRestoreList, q)
}

// StopRestore ends a restore, even if clients are connected. To stop a restore that has ended is no error.
func (c *Client) StopRestore(ctx context.Context, restoreID string) (Restore, error) {
	return call[Restore](ctx, c, MethodRestoreStop, RestoreRef{restoreID})
}

// Status returns the state of the agent.
func (c *Client) Status(ctx context.Context) (AgentStatus, error) {
	return call[AgentStatus](ctx, c, MethodAgentStatus, None{})
}

// Doctor checks the running agent and what backups need.
func (c *Client) Doctor(ctx context.Context) (DoctorReport, error) {
	return call[DoctorReport](ctx, c, MethodAgentDoctor, None{})
}

// LogLevel sets the lowest level that the agent logs, until it is set again or the configuration is loaded, and returns it;
// "" only returns it.
func (c *Client) LogLevel(ctx context.Context, level string) (LogLevel, error) {
	return call[LogLevel](ctx, c, MethodAgentLogLevel, LogLevel{level})
}
