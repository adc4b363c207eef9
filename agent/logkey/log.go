// Package logkey names the attributes of log lines. The packages that log decide what they log.
package logkey

// Keys of the log's attributes.
const (
	BackupID   = "backup_id"
	RestoreID  = "restore_id"
	VM         = "vm_name"
	From       = "from"
	To         = "to"
	Type       = "backup_type"
	Repository = "repository_id"
	Disks      = "disks"
	Reason     = "reason"
	Error      = "error"
	Journal    = "journal"
	Unit       = "unit"
	Port       = "port"
	Holder     = "holder"
	Disk       = "disk_id"
	Directory  = "directory"
	Source     = "source"
	Cache      = "cache"
	AIO        = "aio"
	Hint       = "hint"
	File       = "file"
	Onto       = "onto"
	Parent     = "parent"
	RunID      = "run_id"
	Schedule   = "schedule_id"
	Hook       = "hook"
	VCenter    = "vcenter"
)
