package schema

import (
	"github.com/sendense/backup-agent/agent/record"
)

// Claims lists the names that only this backup has while it is active, as keys of the bucket claims.
func Claims(b record.Backup) []string {
	if len(b.Runs) == 0 { // queued, or ended in the queue
		return nil
	}
	keys := []string{"directory:" + b.Directory}
	for _, r := range b.Runs {
		keys = append(keys, "unit:"+r.Unit, "export:"+r.ExportName, "image:"+r.Image)
	}
	return keys
}
