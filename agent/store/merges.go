package store

import (
	"errors"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// Rewrites returns the restore points that are being put on other ground, or were when an agent ended.
func (s *Store) Merges() (list []record.Backup, err error) {
	err = s.view(func(t *tx) error {
		return t.eachListed(listMerging, func(b record.Backup) error {
			list = append(list, b)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// eachListed walks a list from the newest record to the oldest.
func (t *tx) eachListed(name string, f func(record.Backup) error) error {
	list := t.Bucket(bucketLists).Bucket([]byte(name))
	if list == nil {
		return nil
	}
	c := list.Cursor()
	for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
		b, err := t.listed(name, k)
		if err == nil {
			err = f(b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkRewrite holds a record to the order of a rewrite. It begins on a restore point, onto one of those that it stands on, and
// that one stays until the end, as do all between: they have a child. While it is under way the restore point cannot go. Its swap
// begins when nobody reads the restore point; from then on, until its end, nobody begins to. Neither begins while the restore point, or
// anything that it stands on, is damaged: new images would have digests that fit them.
func (t *tx) checkMerge(before, after record.Backup) error {
	was, is := before.Merge, after.Merge
	switch {
	case is == nil:
		return nil
	case after.State != record.Completed && before.State == record.Completed:
		return &MergingError{BackupID: after.ID}
	case after.State != record.Completed:
		return &StateError{BackupID: after.ID, State: after.State, Action: "writing it anew"}
	case was == nil:
		return errors.Join(t.checkSound(after.ID), t.checkNewParent(after))
	case is.NewParent != was.NewParent || !is.StartedAt.Equal(was.StartedAt):
		return &MergingError{BackupID: after.ID}
	case is.Committing && !was.Committing:
		return errors.Join(t.checkSound(after.ID), t.checkNewParent(after), t.checkUnread(after)) // the images stand on it by now
	}
	return nil
}

// errSameGround refuses a rewrite that would change nothing.
var errSameParent = errors.New("it stands there already")

// checkGround returns an error unless a restore point may be put on what its Rewrite says.
func (t *tx) checkNewParent(b record.Backup) error {
	points, err := t.points(b.ID)
	switch onto := b.Merge.NewParent; {
	case err != nil:
		return err
	case onto == b.Parent:
		return &ParentError{Parent: onto, Why: errSameParent.Error()}
	case onto != "" && !slices.Contains(points[1:], onto):
		return &ParentError{Parent: onto, Why: "is none of what " + b.ID + " stands on"}
	}
	return checkTime("started_at", b.Merge.StartedAt)
}

// checkUnread returns a *ReadError when a restore, or a backup that runs, reads a restore point.
func (t *tx) checkUnread(b record.Backup) error {
	var served *ServedError
	if err := t.checkUnserved(b.ID); errors.As(err, &served) {
		return &ReadError{BackupID: b.ID, Reader: "restore " + served.RestoreID}
	} else if err != nil {
		return err
	}
	id := t.Bucket(bucketActive).Get([]byte(b.VM.Name))
	if id == nil {
		return nil
	}
	active, err := t.indexed(bucketActive, []byte(b.VM.Name), id)
	if err != nil || active.Parent == "" {
		return err
	}
	points, err := t.points(active.Parent)
	if err == nil && slices.Contains(points, b.ID) {
		err = &ReadError{BackupID: b.ID, Reader: "backup " + active.ID}
	}
	return err
}

// checkSteady returns a *RewritingError when a restore point, or one that it stands on, is being exchanged.
func (t *tx) checkNotMerging(id string) error {
	if list := t.Bucket(bucketLists).Bucket([]byte(listMerging)); list == nil {
		return nil // nothing is, as nearly always
	}
	_, err := t.points(id)
	return err
}

// PointGroup is a VM in a repository, where it has restore points.
type PointGroup struct {
	Repository string `json:"repository"`
	VM         string `json:"vm"`
}

// PointGroups lists the VMs that have restore points, in each repository.
func (s *Store) PointGroups() (groups []PointGroup, err error) {
	err = s.view(func(t *tx) error {
		root := t.Bucket(bucketLists)
		prefix := "point/"
		c := root.Cursor()
		for k, _ := c.Seek([]byte(prefix)); k != nil && len(k) > len(prefix) && string(k[:len(prefix)]) == prefix; k, _ = c.Next() {
			newest, _ := root.Bucket(k).Cursor().Last()
			b, err := t.listed(string(k), newest)
			if err != nil {
				return err
			}
			groups = append(groups, PointGroup{Repository: b.Repository, VM: b.VM.Name})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return groups, nil
}

// PointsOf returns every restore point of a VM in a repository, the last made first.
func (s *Store) PointsOf(g PointGroup) (list []record.Backup, err error) {
	err = s.view(func(t *tx) error {
		d, err := s.damage(t)
		if err != nil {
			return err
		}
		return t.eachListed(listOrder(g.Repository, g.VM), func(b record.Backup) error {
			d.fill(&b)
			list = append(list, b)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Pruned is when the policies were last applied to everything; zero for never.
func (s *Store) Pruned() (at time.Time, err error) {
	err = s.view(func(t *tx) error {
		if v := t.Bucket(bucketMeta).Get(keyPruned); len(v) == timeBytes {
			at = decodeTime(v)
		}
		return nil
	})
	return at, err
}

// SetPruned writes down that they were.
func (s *Store) SetPruned(at time.Time) error {
	if err := checkTime("now", at); err != nil {
		return err
	}
	return s.update(func(t *tx) error { return t.Bucket(bucketMeta).Put(keyPruned, encodeTime(at)) })
}
