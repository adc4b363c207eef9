package server

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"

	"golang.org/x/sync/singleflight"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/schema"
)

// access says who may call a method. Who may connect at all is decided by the mode of the socket's file. With the usual
// 0660 only root and the socket's group can connect, so that both words below mean the same. With 0666 every user can
// read, and still only operators can act.
type access string

const (
	read    access = "read"    // every user that can connect
	operate access = "operate" // root, the agent's own user, and members of the socket's group
)

func (a access) allows(c caller) bool { return a == read || a == operate && c.Operator }

// A method is one row of the table.
type method struct {
	name           string
	access         access
	summary        string
	deprecated     bool // it works, but callers should use another method
	changesNothing bool // although only operators may call it
	params, result reflect.Type
	notifies       string       // method of the notifications that are pushed; "" is none
	pushes         reflect.Type // their params
	handle         func(ctx context.Context, x *exchange, params json.RawMessage) (any, error)
}

// methods is the table of all methods, except rpc.discover, which is made from it.
func methods(a *agent.Agent) []method {
	h := handlers{a, new(singleflight.Group)}
	return slices.Concat(h.backupMethods(), h.vmMethods(), h.repositoryMethods(), h.restoreMethods(), scheduleHandlers{a}.scheduleMethods(), h.agentMethods())
}

// backupMethods are the methods backup.*.
func (h handlers) backupMethods() []method {
	return []method{
		raw[rpc.StartRequest](rpc.MethodBackupStart, operate, "start a backup of a whole VM", h.backupStart),
		typed(rpc.MethodBackupGet, read, "show a backup", h.backupGet),
		typed(rpc.MethodBackupList, read, "list backups, the newest first", h.backupList),
		typed(rpc.MethodBackupCancel, operate, "cancel an active backup and remove what it made; deprecated: of a restore point, stop its merge, or else its verification", h.backupCancel),
		typed(rpc.MethodBackupCancelVerify, operate, "stop the verifications of a restore point that were asked for, for all callers that wait for them", h.backupCancelVerify),
		typed(rpc.MethodBackupCancelMerge, operate, "stop the merge of a restore point, which stays as it is", h.backupCancelMerge),
		typed(rpc.MethodBackupDelete, operate, "delete a backup that has ended: its restore point and its record", h.backupDelete),
		typed(rpc.MethodBackupPrune, operate, "delete the restore points that the policies do not keep, or say which these are", h.backupPrune),
		typed(rpc.MethodBackupSyntheticFull, operate, "make a full backup of an incremental and its chain, by a merge in the repository", h.backupSyntheticFull),
		typed(rpc.MethodBackupConsolidate, operate, "the old name of backup.synthetic_full", h.backupSyntheticFull).deprecate(),
		typed(rpc.MethodBackupComplete, operate, "report that a disk is complete", h.backupComplete),
		typed(rpc.MethodBackupChangeID, operate, "tell a backup client since which change id to copy a disk; the agent learns from the question what the client does", h.backupChangeID),
		verifyRow(h.agent),
		typed(rpc.MethodBackupChain, read, "list the restore points of a VM with their parents and the disk space they use", h.backupChain),
		watchRow(backups(h.agent.Watch, h.backupRecord)),
		unwatchRow(rpc.MethodBackupUnwatch),
	}
}

// vmMethods are the methods vm.*.
func (h handlers) vmMethods() []method {
	return []method{
		typed(rpc.MethodVMPut, operate, "put a VM on record, or replace the one of the same name", h.vmPut),
		typed(rpc.MethodVMCheck, read, "say what vm.put would do with a VM, and change nothing", h.vmCheck),
		typed(rpc.MethodVMGet, read, "show a VM", h.vmGet),
		typed(rpc.MethodVMList, read, "list VMs by name", h.vmList),
		typed(rpc.MethodVMRemove, operate, "remove the record of a VM; its restore points stay", h.vmRemove),
		typed(rpc.MethodVMDiscover, operate, "ask the SNA which VMs a vCenter has", h.vmDiscover),
	}
}

// repositoryMethods are the methods repository.* and export.*.
func (h handlers) repositoryMethods() []method {
	return []method{
		typed(rpc.MethodRepositoryList, read, "list the repositories with their free space", h.repositoryList),
		typed(rpc.MethodRepositoryGet, read, "show a repository", h.repositoryGet),
		typed(rpc.MethodRepositoryPause, operate, "pause a repository for maintenance: nothing new starts there, and what runs ends by itself", h.repositoryPause),
		typed(rpc.MethodRepositoryResume, operate, "end the pause of a repository", h.repositoryResume),
		typed(rpc.MethodExportList, read, "list the disks that are exported over NBD", h.exportList),
	}
}

// restoreMethods are the methods restore.*.
func (h handlers) restoreMethods() []method {
	return []method{
		typed(rpc.MethodRestoreStart, operate, "serve a restore point over NBD, one export per disk", h.restoreStart),
		typed(rpc.MethodRestoreGet, read, "show a restore", h.restoreGet),
		typed(rpc.MethodRestoreList, read, "list the active restores and the last ones that have ended, the newest first", h.restoreList),
		typed(rpc.MethodRestoreStop, operate, "end a restore, even if clients are connected", h.restoreStop),
		watchRestoresRow(restores(h.agent.Watch, h.restoreRecord)),
		unwatchRow(rpc.MethodRestoreUnwatch),
	}
}

// scheduleMethods are the methods group.*, schedule.* and run.*.
func (h scheduleHandlers) scheduleMethods() []method {
	return []method{
		typed(rpc.MethodGroupList, read, "list the groups of VMs, and the VMs that are in none", h.groupList),
		typed(rpc.MethodGroupGet, read, "show which VMs belong to a group, and why", h.groupGet),
		typed(rpc.MethodScheduleList, read, "list the schedules with their next times", h.scheduleList),
		typed(rpc.MethodScheduleRun, operate, "begin a run of a schedule now", h.scheduleRun),
		typed(rpc.MethodSchedulePause, operate, "stop a schedule from beginning runs; a run in progress continues", h.schedulePause),
		typed(rpc.MethodScheduleResume, operate, "end the pause of a schedule; what was due meanwhile is not made up", h.scheduleResume),
		typed(rpc.MethodRunList, read, "list the runs of schedules, the latest first", h.runList),
		typed(rpc.MethodRunGet, read, "show a run with its VMs and their tries", h.runGet),
		typed(rpc.MethodRunCancel, operate, "end a run and cancel its backups in progress", h.runCancel),
	}
}

// agentMethods are the methods agent.*.
func (h handlers) agentMethods() []method {
	return []method{
		typed(rpc.MethodAgentStatus, read, "show the state of the agent", h.agentStatus),
		typed(rpc.MethodAgentDoctor, operate, "check what backups need, and say what is wrong", h.agentDoctor).looks(),
		typed(rpc.MethodAgentLogLevel, operate, "show or set the lowest level that is logged", h.agentLogLevel),
	}
}

// typed makes a row from a function on wire types: its parameters are read strictly, and described by their type.
func typed[P, R any](name string, access access, summary string, call func(context.Context, P) (R, error)) method {
	return raw[P](name, access, summary, func(ctx context.Context, params json.RawMessage) (R, error) {
		var p P
		if err := schema.Decode(params, &p); err != nil {
			return *new(R), err
		}
		return call(ctx, p)
	})
}

// raw makes a row from a function that reads its parameters itself: one JSON object, described by P.
func raw[P, R any](name string, access access, summary string, call func(context.Context, json.RawMessage) (R, error)) method {
	return method{
		name: name, access: access, summary: summary,
		params: reflect.TypeFor[P](), result: reflect.TypeFor[R](),
		handle: func(ctx context.Context, _ *exchange, params json.RawMessage) (any, error) {
			object, err := named(params)
			if err != nil {
				return nil, err
			}
			return call(ctx, object)
		},
	}
}

// looks marks a method that only operators may call as one that changes nothing: it is not in the audit log.
func (m method) looks() method {
	m.changesNothing = true
	return m
}

// audited reports whether the method belongs in the audit log.
func (m method) audited() bool { return m.access == operate && !m.changesNothing }

// deprecate marks the method as deprecated.
func (m method) deprecate() method {
	m.deprecated = true
	return m
}
