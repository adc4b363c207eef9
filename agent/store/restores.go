package store

import (
	"fmt"
	"slices"

	"github.com/sendense/backup-agent/agent/record"
)

// Restore returns the restore of that id, or a *NotFoundError.
func (s *Store) Restore(id string) (record.Restore, error) {
	var r record.Restore
	err := s.view(func(t *tx) (err error) {
		r, err = t.restore(id)
		return err
	})
	if err != nil {
		return record.Restore{}, err
	}
	return r, nil
}

// Restores returns every restore on record, the newest first: those that are active and the last that have ended.
func (s *Store) Restores() ([]record.Restore, error) {
	var list []record.Restore
	err := s.view(func(t *tx) (err error) {
		list, err = t.restores()
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// ActiveRestores returns every active restore, in the order of the ids.
func (s *Store) ActiveRestores() ([]record.Restore, error) {
	var active []record.Restore
	err := s.view(func(t *tx) (err error) {
		active, err = t.activeRestores()
		return err
	})
	if err != nil {
		return nil, err
	}
	return active, nil
}

// restore loads a record that must exist.
func (t *tx) restore(id string) (record.Restore, error) {
	var r record.Restore
	ok, err := t.get(bucketRestores, []byte(id), &r)
	if err == nil && !ok {
		err = &NotFoundError{Kind: KindRestore, Name: id}
	}
	return r, err
}

func (t *tx) restores() ([]record.Restore, error) {
	var list []record.Restore
	err := t.Bucket(bucketRestores).ForEach(func(k, v []byte) error {
		var r record.Restore
		err := t.decode(bucketRestores, k, v, &r)
		list = append(list, r)
		return err
	})
	slices.SortStableFunc(list, func(x, y record.Restore) int { return y.CreatedAt.Compare(x.CreatedAt) })
	return list, err
}

func (t *tx) activeRestores() ([]record.Restore, error) {
	var active []record.Restore
	err := t.Bucket(bucketActiveRestores).ForEach(func(k, _ []byte) error {
		var r record.Restore
		ok, err := t.get(bucketRestores, k, &r)
		if err == nil && !ok {
			err = t.damaged("%s/%q: has no record", bucketActiveRestores, k)
		}
		active = append(active, r)
		return err
	})
	return active, err
}

// checkUnserved returns a *ServedError when a restore reads a backup.
func (t *tx) checkUnserved(backupID string) error {
	active, err := t.activeRestores()
	if err != nil {
		return err
	}
	for _, r := range active {
		if slices.Contains(r.Points, backupID) {
			return &ServedError{BackupID: backupID, RestoreID: r.ID}
		}
	}
	return nil
}

// points lists a restore point and all it stands on, the newest first: what a restore of it reads, and so pins.
func (t *tx) points(id string) (list []string, err error) {
	for id != "" {
		b, err := t.backup(id)
		switch {
		case err != nil:
			return nil, err
		case b.State != record.Completed:
			return nil, &StateError{BackupID: id, State: b.State, Action: "restoring from it"}
		case slices.Contains(list, id):
			return nil, t.damaged("backup %s: stands on itself", id)
		case b.Merge != nil && b.Merge.Committing:
			return nil, &MergingError{BackupID: id}
		}
		list, id = append(list, id), b.Parent
	}
	return list, nil
}

// endedRestores is how many restores that have ended stay on record.
const endedRestores = 200

// forgetRestores removes the oldest of the restores that have ended, but for those whose overlays are not removed yet.
func (t *tx) forgetRestores() error {
	list, err := t.restores()
	if err != nil {
		return err
	}
	ended := 0
	for _, r := range list {
		if r.State.Active() || r.ScratchMade {
			continue
		}
		if ended++; ended <= endedRestores {
			continue
		}
		if err := t.Bucket(bucketRestores).Delete([]byte(r.ID)); err != nil {
			return fmt.Errorf("restore %s: %w", r.ID, err)
		}
	}
	return nil
}
