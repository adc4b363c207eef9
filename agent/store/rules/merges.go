package rules

import (
	"errors"
	"slices"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// checkMerge holds a record to the order of a merge. A merge begins on a restore point and gives it a new parent from its
// chain. The new parent, and all between, stay until the end: they have a child. While the merge is in progress, the restore
// point cannot be removed. Its commit begins when nobody reads the restore point, and until its end nobody begins to read it.
// Neither the merge nor its commit begins while the restore point or one of its chain is damaged: the new images would get
// digests that match the damage.
func checkMerge(t *dbfile.Tx, before, after record.Backup) error {
	was, is := before.Merge, after.Merge
	switch {
	case is == nil:
		return nil
	case after.State != record.Completed && before.State == record.Completed:
		return &MergingError{BackupID: after.ID}
	case after.State != record.Completed:
		return &StateError{BackupID: after.ID, State: after.State, Action: "merging it"}
	case was == nil:
		return errors.Join(CheckSound(t, after.ID), checkNewParent(t, after))
	case is.NewParent != was.NewParent || !is.StartedAt.Equal(was.StartedAt):
		return &MergingError{BackupID: after.ID}
	case is.Committing && !was.Committing:
		return errors.Join(CheckSound(t, after.ID), checkNewParent(t, after), checkUnread(t, after)) // the images are based on it by now
	}
	return nil
}

// errSameParent refuses a merge that would change nothing.
var errSameParent = errors.New("it is the parent already")

// checkNewParent returns an error unless a restore point can get the new parent that its Merge names.
func checkNewParent(t *dbfile.Tx, b record.Backup) error {
	points, err := Chain(t, b.ID)
	switch onto := b.Merge.NewParent; {
	case err != nil:
		return err
	case onto == b.Parent:
		return &ParentError{Parent: onto, Why: errSameParent.Error()}
	case onto != "" && !slices.Contains(points[1:], onto):
		return &ParentError{Parent: onto, Why: "is not in the chain of " + b.ID}
	}
	return schema.CheckTime("started_at", b.Merge.StartedAt)
}

// checkUnread returns a *ReadError when a restore or an active backup reads a restore point.
func checkUnread(t *dbfile.Tx, b record.Backup) error {
	var served *ServedError
	if err := checkUnserved(t, b.ID); errors.As(err, &served) {
		return &ReadError{BackupID: b.ID, Reader: "restore " + served.RestoreID}
	} else if err != nil {
		return err
	}
	id := t.Bucket(schema.BucketActive).Get([]byte(b.VM.Name))
	if id == nil {
		return nil
	}
	active, err := schema.Indexed(t, schema.BucketActive, []byte(b.VM.Name), id)
	if err != nil || active.Parent == "" {
		return err
	}
	points, err := Chain(t, active.Parent)
	if err == nil && slices.Contains(points, b.ID) {
		err = &ReadError{BackupID: b.ID, Reader: "backup " + active.ID}
	}
	return err
}

// checkNotMerging returns a *MergingError when the commit of a merge is in progress, of a restore point or of one in its chain.
func checkNotMerging(t *dbfile.Tx, id string) error {
	if list := t.Bucket(schema.BucketLists).Bucket([]byte(schema.ListMerging)); list == nil {
		return nil // there are no merges, as nearly always
	}
	_, err := Chain(t, id)
	return err
}
