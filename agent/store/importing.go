package store

import (
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Import puts an ended backup on record that this database has never had, as read from a manifest. It is ImportAll for one backup.
func (s *Store) Import(b record.Backup) (added bool, err error) {
	all, err := s.ImportAll([]record.Backup{b})
	return err == nil && all[0], err
}

// ImportAll puts ended backups on record that this database has never had, as read from manifests, in their order and in one transaction:
// a deletion sees a parent only together with its children. A backup that is on record, or was removed, stays as it is: added is false
// for it. A backup keeps its sequence, unless it has none, or its parent has a higher one: see Order in package schema.
func (s *Store) ImportAll(backups []record.Backup) (added []bool, err error) {
	added, list := make([]bool, len(backups)), make([]record.Backup, len(backups))
	for i, b := range backups {
		if err := rules.CheckImport(b); err != nil {
			return nil, err
		}
		if list[i], err = schema.Clone(b); err != nil {
			return nil, err
		}
		list[i].RequestID = "" // the request was answered long ago, and its id may be in use again
	}
	err = s.file.Update(func(t *dbfile.Tx) error {
		changed := false
		for i := range list {
			if added[i], err = importOne(t, list[i]); err != nil {
				return err
			}
			changed = changed || added[i]
		}
		if !changed {
			return dbfile.ErrUnchanged
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return added, nil
}

func importOne(t *dbfile.Tx, b record.Backup) (added bool, err error) {
	key := []byte(b.ID)
	if t.Bucket(schema.BucketBackups).Get(key) != nil || t.Bucket(schema.BucketRemoved).Get(key) != nil {
		return false, nil
	}
	if b.Sequence, err = importSequence(t, b); err != nil {
		return false, err
	}
	if err := schema.Index(t, nil, &b); err != nil {
		return false, err
	}
	return true, schema.Put(t, schema.BucketBackups, key, b)
}

// BeginImport records that the restore points of a repository are being imported. An import that is interrupted is continued.
func (s *Store) BeginImport(repository string) error {
	if err := record.ValidName("repository_id", repository); err != nil {
		return err
	}
	failpoint.Reach("import: before the mark")
	defer failpoint.Reach("import: after the mark")
	return s.file.Update(func(t *dbfile.Tx) error {
		b := t.Bucket(schema.BucketImporting)
		if schema.Has(b, []byte(repository)) {
			return dbfile.ErrUnchanged
		}
		return b.Put([]byte(repository), []byte{})
	})
}

// EndImport records that nothing of a repository is left to import.
func (s *Store) EndImport(repository string) error {
	failpoint.Reach("import: before the mark goes")
	defer failpoint.Reach("import: after the mark went")
	return s.file.Update(func(t *dbfile.Tx) error {
		b := t.Bucket(schema.BucketImporting)
		if repository == "" || !schema.Has(b, []byte(repository)) {
			return dbfile.ErrUnchanged
		}
		return b.Delete([]byte(repository))
	})
}
