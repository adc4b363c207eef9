package server

import (
	"context"
	"encoding/json"
	"reflect"

	"golang.org/x/sync/singleflight"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/schema"
)

// access says who may call a method. Who may connect at all is decided before, by the mode of the socket's file: with
// the usual 0660 only root and the socket's group can, so that both words below mean the same. A socket of mode 0666
// lets everybody look and still only operators act.
type access string

const (
	read    access = "read"    // whoever can connect
	operate access = "operate" // root, the agent's own user, and the members of the socket's group
)

func (a access) allows(c caller) bool { return a == read || a == operate && c.Operator }

// A method is one row of the table.
type method struct {
	name           string
	access         access
	summary        string
	deprecated     bool // it works, and another one is to be used
	params, result reflect.Type
	notifies       string       // method of the notifications that are pushed; "" for none
	pushes         reflect.Type // their params
	handle         func(ctx context.Context, x *exchange, params json.RawMessage) (any, error)
}

// methods is the table of everything that can be called, but for rpc.discover, which is made from it.
func methods(a *agent.Agent) []method {
	h := handlers{a, new(singleflight.Group)}
	return []method{
		raw[rpc.StartRequest](rpc.MethodBackupStart, operate, "start a backup of a whole VM", h.backupStart),
		typed(rpc.MethodBackupGet, read, "show a backup", h.backupGet),
		typed(rpc.MethodBackupList, read, "list backups, the newest first", h.backupList),
		typed(rpc.MethodBackupCancel, operate, "cancel an active backup and remove what it made; deprecated: of a restore point, stop its merge, or else its verification", h.backupCancel),
		typed(rpc.MethodBackupCancelVerify, operate, "stop the verifications of a restore point that were asked for, for all callers that wait for them", h.backupCancelVerify),
		typed(rpc.MethodBackupCancelMerge, operate, "stop the merge of a restore point, which stays as it is", h.backupCancelMerge),
		typed(rpc.MethodBackupDelete, operate, "remove a backup that has ended, restore point and record", h.backupDelete),
		typed(rpc.MethodBackupPrune, operate, "remove the restore points that the policies keep no longer, or tell which", h.backupPrune),
		typed(rpc.MethodBackupSyntheticFull, operate, "make a full backup of an incremental and its chain, by a merge in the repository", h.backupSyntheticFull),
		typed(rpc.MethodBackupConsolidate, operate, "the old name of backup.synthetic_full", h.backupSyntheticFull).deprecate(),
		typed(rpc.MethodBackupComplete, operate, "report that a disk was copied whole", h.backupComplete),
		typed(rpc.MethodBackupChangeID, operate, "tell a backup client from which change id it may copy; the question is taken for a sign of what it does", h.backupChangeID),
		verifyRow(a),
		typed(rpc.MethodBackupChain, read, "list the restore points of a VM, what each stands on and takes on the disk", h.backupChain),
		watchRow(backups(a.Watch, a.Records.Backup)),
		unwatchRow(rpc.MethodBackupUnwatch),

		typed(rpc.MethodVMPut, operate, "put a VM on record, in place of one of the same name", h.vmPut),
		typed(rpc.MethodVMCheck, read, "tell what vm.put would do with a VM, and do nothing", h.vmCheck),
		typed(rpc.MethodVMGet, read, "show a VM", h.vmGet),
		typed(rpc.MethodVMList, read, "list VMs by name", h.vmList),
		typed(rpc.MethodVMRemove, operate, "take a VM off the record; its restore points stay", h.vmRemove),
		typed(rpc.MethodVMDiscover, operate, "ask the SNA which VMs a vCenter has", h.vmDiscover),

		typed(rpc.MethodRepositoryList, read, "list the repositories with their free space", h.repositoryList),
		typed(rpc.MethodRepositoryGet, read, "show a repository", h.repositoryGet),
		typed(rpc.MethodExportList, read, "list the disks that are being served over NBD", h.exportList),

		typed(rpc.MethodRestoreStart, operate, "serve a restore point over NBD, an export per disk", h.restoreStart),
		typed(rpc.MethodRestoreGet, read, "show a restore", h.restoreGet),
		typed(rpc.MethodRestoreList, read, "list the restores that are served and the last that have ended, the newest first", h.restoreList),
		typed(rpc.MethodRestoreStop, operate, "end a restore, whoever is connected", h.restoreStop),
		watchRestoresRow(restores(a.Watch, a.Records.Restore)),
		unwatchRow(rpc.MethodRestoreUnwatch),

		typed(rpc.MethodAgentStatus, read, "show the agent at a glance", h.agentStatus),
		typed(rpc.MethodAgentDoctor, operate, "look at what backups need, and say what is wrong", h.agentDoctor),
		typed(rpc.MethodAgentLogLevel, operate, "show or set the least level that is logged", h.agentLogLevel),
	}
}

// typed makes a row of a function on wire types: its parameters are read strictly, and described by their type.
func typed[P, R any](name string, access access, summary string, call func(context.Context, P) (R, error)) method {
	return raw[P](name, access, summary, func(ctx context.Context, params json.RawMessage) (R, error) {
		var p P
		if err := schema.Decode(params, &p); err != nil {
			return *new(R), err
		}
		return call(ctx, p)
	})
}

// raw makes a row of a function that reads its parameters, one JSON object described by P, itself.
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

// deprecate makes it the row of a method that only old callers use.
func (m method) deprecate() method {
	m.deprecated = true
	return m
}
