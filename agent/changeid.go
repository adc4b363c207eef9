package agent

import (
	"path"

	"github.com/sendense/backup-agent/agent/backup"
)

// ChangeID answers SBC's question from which change id it may copy a disk. SBC decides by the answer alone: an empty one
// has it copy everything. It names the VM by the last segment of its inventory path and says nothing of the job, so there
// is an answer only when exactly one VM of that name is being backed up, and that backup is an incremental: otherwise a
// full backup might get the changes of another one and hold nothing else.
func (a *Agent) ChangeID(vmName string, diskID int) (ChangeIDAnswer, error) {
	answer := ChangeIDAnswer{VMName: vmName, DiskID: diskID}
	if vmName == "" {
		return answer, errorf(InvalidRequest, "vm_name is missing")
	}
	active, err := a.store.Active()
	if err != nil {
		return answer, AsError(err)
	}
	var named []backup.Backup
	for _, b := range active {
		if segment(b.VM) == vmName && underway(b.State) {
			named = append(named, b)
		}
	}
	switch {
	case len(named) == 0:
		answer.Message = "no backup of this VM is under way: copy everything"
	case len(named) > 1:
		answer.Message = "several VMs of this name are being backed up: copy everything"
	case named[0].Type != backup.Incremental:
		answer.BackupID, answer.Message = named[0].ID, "this backup is a full one: copy everything"
	default:
		answer = changeIDOf(answer, named[0])
	}
	return answer, nil
}

func changeIDOf(answer ChangeIDAnswer, b backup.Backup) ChangeIDAnswer {
	answer.BackupID = b.ID
	d := b.Run(answer.DiskID)
	if d == nil || d.ParentChangeID == "" {
		answer.Message = "this disk is not in the parent: copy everything"
		return answer
	}
	answer.ChangeID = d.ParentChangeID
	answer.Message = "copy what changed since " + b.Parent
	return answer
}

// underway says whether SBC may be at work for a backup in this state.
func underway(s backup.State) bool {
	return s == backup.Calling || s == backup.Unresolved || s == backup.Running
}

// segment is how SBC names a VM.
func segment(vm backup.VM) string {
	if vm.InventoryPath == "" {
		return vm.Name
	}
	return path.Base(vm.InventoryPath)
}
