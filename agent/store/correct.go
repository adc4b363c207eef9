package store

import (
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
)

// FromManifest corrects the record of a restore point that is older than its manifest: what a merge changes may change.
// (Without it, Update allows that only in a merge that it knows of.) Update returns a *StateError for a record that is no
// restore point, a *MergingError while a merge is in progress, and a *ReadError while a restore or a backup reads the restore
// point.
func FromManifest() Option {
	return func(u *backupUpdate) {
		u.allow = rules.CheckCorrectable
		u.rules = func(_ *dbfile.Tx, before, after record.Backup, _ time.Time) error {
			return rules.CheckCorrected(before, after)
		}
	}
}
