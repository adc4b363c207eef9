package rules

import (
	"fmt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// CheckParent returns a *ParentError when the parent of a backup cannot be its parent.
func CheckParent(t *dbfile.Tx, b record.Backup) error {
	if b.Parent == "" {
		return nil
	}
	var parent record.Backup
	ok, err := schema.Get(t, schema.BucketBackups, []byte(b.Parent), &parent)
	if err != nil {
		return err
	}
	why := ""
	switch {
	case b.Type != record.Incremental:
		why = "a full backup has no parent"
	case !ok:
		why = "is not on record"
	case parent.VM.Name != b.VM.Name:
		why = fmt.Sprintf("is a backup of vm %q", parent.VM.Name)
	case parent.Repository != b.Repository:
		why = fmt.Sprintf("is in repository %q", parent.Repository)
	case parent.State != record.Completed:
		why = fmt.Sprintf("is %s", parent.State)
	default:
		return checkNotMerging(t, b.Parent)
	}
	return &ParentError{Parent: b.Parent, Why: why}
}

// checkUnpinned returns a *PinnedError when another backup is based on this one.
func checkUnpinned(t *dbfile.Tx, b record.Backup) error {
	list := t.Bucket(schema.BucketLists).Bucket([]byte(schema.ListChildren(b.ID)))
	if list == nil {
		return nil
	}
	newest, _ := list.Cursor().Last()
	child, err := schema.Listed(t, schema.ListChildren(b.ID), newest)
	if err != nil {
		return err
	}
	return &PinnedError{BackupID: b.ID, Child: child.ID}
}

// CheckSound returns a *DamagedError when a restore point, or one in its chain, is damaged.
func CheckSound(t *dbfile.Tx, id string) error {
	if id == "" {
		return nil
	}
	d, err := query.DamageOf(t)
	if err != nil || !d.Has(id) {
		return err
	}
	by := id
	if b, err := schema.Backup(t, id); err == nil && len(b.Damage()) == 0 {
		by = d.Under(id)
	}
	return &DamagedError{BackupID: id, By: by}
}
