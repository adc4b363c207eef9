package store

import (
	"fmt"

	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// endedRestores is how many ended restores stay on record.
const endedRestores = 200

// forgetRestores removes the oldest ended restores, except those whose overlays are not removed yet.
func forgetRestores(t *dbfile.Tx) error {
	list, err := schema.Restores(t)
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
		if err := t.Bucket(schema.BucketRestores).Delete([]byte(r.ID)); err != nil {
			return fmt.Errorf("restore %s: %w", r.ID, err)
		}
	}
	return nil
}
