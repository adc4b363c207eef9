package store

import (
	"time"

	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"

	"github.com/sendense/backup-agent/agent/record"
)

// FromManifest has the record of a restore point follow its manifest, where the database is older than that: what a merge changes may
// change, whatever it is. Without it, Update does not allow that: it begins and ends a merge of its own. Update returns a
// *StateError for what is no restore point, a *RewritingError for one that is being merged, and a *ReadError for one that a restore
// or a backup reads.
func FromManifest() Option {
	return func(u *backupUpdate) {
		u.allow = rules.CheckCorrectable
		u.rules = func(_ *dbfile.Tx, before, after record.Backup, _ time.Time) error {
			return rules.CheckCorrected(before, after)
		}
	}
}
