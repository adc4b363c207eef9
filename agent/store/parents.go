package store

import (
	"fmt"

	"github.com/sendense/backup-agent/agent/record"
)

// Children returns the backups that stand on a backup and pin it, the newest first: completed and active ones.
func (s *Store) Children(id string) ([]record.Backup, error) {
	var children []record.Backup
	err := s.view(func(t *tx) error {
		name := listChildren(id)
		list := t.Bucket(bucketLists).Bucket([]byte(name))
		if list == nil {
			return nil
		}
		c := list.Cursor()
		for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
			b, err := t.listed(name, k)
			if err != nil {
				return err
			}
			children = append(children, b)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return children, nil
}

// checkParent returns a *ParentError when the backup cannot stand on its parent.
func (t *tx) checkParent(b record.Backup) error {
	if b.Parent == "" {
		return nil
	}
	var parent record.Backup
	ok, err := t.get(bucketBackups, []byte(b.Parent), &parent)
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
		return t.checkNotMerging(b.Parent)
	}
	return &ParentError{Parent: b.Parent, Why: why}
}

// checkUnpinned returns a *PinnedError when another backup stands on this one.
func (t *tx) checkUnpinned(b record.Backup) error {
	list := t.Bucket(bucketLists).Bucket([]byte(listChildren(b.ID)))
	if list == nil {
		return nil
	}
	newest, _ := list.Cursor().Last()
	child, err := t.listed(listChildren(b.ID), newest)
	if err != nil {
		return err
	}
	return &PinnedError{BackupID: b.ID, Child: child.ID}
}
