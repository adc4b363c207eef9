package rules

import (
	"errors"
	"slices"

	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"

	"github.com/sendense/backup-agent/agent/record"
)

// checkRewrite holds a record to the order of a rewrite. It begins on a restore point, onto one of those that it stands on, and
// that one stays until the end, as do all between: they have a child. While it is under way the restore point cannot go. Its swap
// begins when nobody reads the restore point; from then on, until its end, nobody begins to. Neither begins while the restore point, or
// anything that it stands on, is damaged: new images would have digests that fit them.
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
		return errors.Join(CheckSound(t, after.ID), checkNewParent(t, after), checkUnread(t, after)) // the images stand on it by now
	}
	return nil
}

// errSameGround refuses a rewrite that would change nothing.
var errSameParent = errors.New("it is the parent already")

// checkGround returns an error unless a restore point may be put on what its Rewrite says.
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

// checkUnread returns a *ReadError when a restore, or a backup that runs, reads a restore point.
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

// checkSteady returns a *RewritingError when a restore point, or one that it stands on, is being exchanged.
func checkNotMerging(t *dbfile.Tx, id string) error {
	if list := t.Bucket(schema.BucketLists).Bucket([]byte(schema.ListMerging)); list == nil {
		return nil // nothing is, as nearly always
	}
	_, err := Chain(t, id)
	return err
}
