package rpc

// The names of the methods. What each takes and answers is in the documentation of the [Client]'s methods and, for
// programs, in the OpenRPC document that [MethodDiscover] answers.
const (
	MethodBackupStart    = "backup.start"
	MethodBackupGet      = "backup.get"
	MethodBackupList     = "backup.list"
	MethodBackupCancel   = "backup.cancel"
	MethodBackupComplete = "backup.complete"
	MethodBackupChangeID = "backup.change_id"
	MethodBackupWatch    = "backup.watch"
	MethodBackupUnwatch  = "backup.unwatch"
	MethodVMPut          = "vm.put"
	MethodVMGet          = "vm.get"
	MethodVMList         = "vm.list"
	MethodVMRemove       = "vm.remove"
	MethodVMDiscover     = "vm.discover"
	MethodRepositoryList = "repository.list"
	MethodRepositoryGet  = "repository.get"
	MethodExportList     = "export.list"
	MethodAgentStatus    = "agent.status"
	MethodDiscover       = "rpc.discover"
)

// NotifyBackupEvent is the method of the notifications that a watch pushes. Their params are an [Event].
const NotifyBackupEvent = "backup.event"
