package store

import (
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Pause records that a repository is paused, and returns the pause on record and whether it changed. A repository that is paused already
// keeps its time; a reason that is given replaces the earlier one.
func (s *Store) Pause(p record.Pause) (now record.Pause, changed bool, err error) {
	if err := record.ValidName("repository_id", p.Repository); err != nil {
		return now, false, err
	}
	if err := schema.CheckTime("now", p.Since); err != nil {
		return now, false, err
	}
	p.Since = schema.Stored(p.Since)
	failpoint.Reach("before pause")
	defer failpoint.Reach("after pause")
	err = s.file.Update(func(t *dbfile.Tx) error {
		var before record.Pause
		paused, err := schema.Get(t, schema.BucketPaused, []byte(p.Repository), &before)
		if err != nil {
			return err
		}
		if now = p; paused {
			now.Since = before.Since
		}
		if paused && now.Reason == "" {
			now.Reason = before.Reason
		}
		if changed = !paused || now != before; !changed {
			return dbfile.ErrUnchanged
		}
		return schema.Put(t, schema.BucketPaused, []byte(p.Repository), now)
	})
	return now, changed && err == nil, err
}

// Resume records that a repository is not paused, and says whether it was.
func (s *Store) Resume(repository string) (was bool, err error) {
	key := []byte(repository)
	failpoint.Reach("before resume")
	defer failpoint.Reach("after resume")
	err = s.file.Update(func(t *dbfile.Tx) error {
		if was = len(key) > 0 && t.Bucket(schema.BucketPaused).Get(key) != nil; !was {
			return dbfile.ErrUnchanged
		}
		return t.Bucket(schema.BucketPaused).Delete(key)
	})
	return was && err == nil, err
}
