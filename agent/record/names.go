package record

import (
	"path"
	"path/filepath"

	"github.com/sendense/backup-agent/nbd"
)

// ClientName is how SBC names a VM.
func ClientName(vm VM) string {
	if vm.InventoryPath == "" {
		return vm.Name
	}
	return path.Base(vm.InventoryPath)
}

// DirectoryOf is the name of the directory in which the directory of a backup lies. Of a lost backup that is all that is
// known of its VM.
func DirectoryOf(b Backup) string {
	if b.Directory != "" {
		return filepath.Base(filepath.Dir(b.Directory))
	}
	return nbd.DirName(b.VM.Name)
}
