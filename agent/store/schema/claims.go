package schema

import (
	"github.com/sendense/backup-agent/agent/record"
)

// Claims lists the names that belong to a backup alone while it is active, as keys of the bucket claims.
func Claims(b record.Backup) []string {
	if len(b.Runs) == 0 { // queued, or ended before its turn
		return nil
	}
	keys := []string{"directory:" + b.Directory}
	for _, r := range b.Runs {
		keys = append(keys, "unit:"+r.Unit, "export:"+r.ExportName, "image:"+r.Image)
	}
	return keys
}
