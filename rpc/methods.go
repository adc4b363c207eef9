package rpc

// The names of the methods. What each takes and answers is in the documentation of the [Client]'s methods and, for
// programs, in the OpenRPC document that [MethodDiscover] answers.
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

	MethodVMPut          = "vm.put"
	MethodVMCheck        = "vm.check"
	MethodVMGet          = "vm.get"
	MethodVMList         = "vm.list"
	MethodVMRemove       = "vm.remove"
	MethodVMDiscover     = "vm.discover"
	MethodRepositoryList = "repository.list"
	MethodRepositoryGet  = "repository.get"
	MethodExportList     = "export.list"
	MethodRestoreStart   = "restore.start"
	MethodRestoreGet     = "restore.get"
	MethodRestoreList    = "restore.list"
	MethodRestoreStop    = "restore.stop"
	MethodRestoreWatch   = "restore.watch"
	MethodRestoreUnwatch = "restore.unwatch"
	MethodAgentStatus    = "agent.status"
	MethodAgentDoctor    = "agent.doctor"
	MethodAgentLogLevel  = "agent.log_level"
	MethodDiscover       = "rpc.discover"
)

// NotifyBackupEvent is the method of the notifications that a watch pushes. Their params are an [Event].
const NotifyBackupEvent = "backup.event"

// NotifyRestoreEvent is the method of the notifications that a watch of restores pushes. Their params are an [Event].
const NotifyRestoreEvent = "restore.event"

// NotifyVerifyProgress is the method of the notifications that tell how a verification comes along, to whom has asked for it.
// Their params are a [VerifyProgress].
const NotifyVerifyProgress = "backup.verify_progress"
