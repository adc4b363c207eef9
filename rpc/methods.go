package rpc

// The names of the methods. Their parameters and results are described by the [Client]'s methods and, for programs, by the
// OpenRPC document that [MethodDiscover] returns.
const (
	MethodBackupStart         = "backup.start"
	MethodBackupGet           = "backup.get"
	MethodBackupList          = "backup.list"
	MethodBackupCancel        = "backup.cancel"
	MethodBackupCancelVerify  = "backup.cancel_verify"
	MethodBackupCancelMerge   = "backup.cancel_merge"
	MethodBackupDelete        = "backup.delete"
	MethodBackupPrune         = "backup.prune"
	MethodBackupSyntheticFull = "backup.synthetic_full"
	MethodBackupConsolidate   = "backup.consolidate" // deprecated: the old name of backup.synthetic_full
	MethodBackupComplete      = "backup.complete"
	MethodBackupChangeID      = "backup.change_id"
	MethodBackupVerify        = "backup.verify"
	MethodBackupChain         = "backup.chain"
	MethodBackupWatch         = "backup.watch"
	MethodBackupUnwatch       = "backup.unwatch"

	MethodVMPut            = "vm.put"
	MethodVMCheck          = "vm.check"
	MethodVMGet            = "vm.get"
	MethodVMList           = "vm.list"
	MethodVMRemove         = "vm.remove"
	MethodVMDiscover       = "vm.discover"
	MethodRepositoryList   = "repository.list"
	MethodRepositoryGet    = "repository.get"
	MethodRepositoryPause  = "repository.pause"
	MethodRepositoryResume = "repository.resume"
	MethodExportList       = "export.list"
	MethodRestoreStart     = "restore.start"
	MethodRestoreGet       = "restore.get"
	MethodRestoreList      = "restore.list"
	MethodRestoreStop      = "restore.stop"
	MethodRestoreWatch     = "restore.watch"
	MethodRestoreUnwatch   = "restore.unwatch"
	MethodGroupList        = "group.list"
	MethodGroupGet         = "group.get"
	MethodScheduleList     = "schedule.list"
	MethodScheduleRun      = "schedule.run"
	MethodSchedulePause    = "schedule.pause"
	MethodScheduleResume   = "schedule.resume"
	MethodRunList          = "run.list"
	MethodRunGet           = "run.get"
	MethodRunCancel        = "run.cancel"
	MethodAgentStatus      = "agent.status"
	MethodAgentDoctor      = "agent.doctor"
	MethodAgentLogLevel    = "agent.log_level"
	MethodDiscover         = "rpc.discover"
)

// NotifyBackupEvent is the method of the notifications of a watch of backups. Their params are an [Event].
const NotifyBackupEvent = "backup.event"

// NotifyRestoreEvent is the method of the notifications of a watch of restores. Their params are an [Event].
const NotifyRestoreEvent = "restore.event"

// NotifyVerifyProgress is the method of the notifications with the progress of a verification, on the connection of the
// caller that asked for them. Their params are a [VerifyProgress].
const NotifyVerifyProgress = "backup.verify_progress"
