package agent

import (
	"context"
	"fmt"

	"github.com/sendense/backup-agent/agent/backup"
)

// recover takes up every backup that was active when the last agent ended. What had not reached the SNA is undone; a
// request that may or may not have left is unresolved from now on; everything else goes on where it was.
func (a *Agent) recover(context.Context) error {
	active, err := a.store.Active()
	if err != nil {
		return fmt.Errorf("reading the active backups: %w", err)
	}
	for _, b := range active {
		switch b.State {
		case backup.Preparing, backup.Exporting:
			interrupted := failureOf(errorf(ShuttingDown, "backup %s: the agent ended before the SNA was asked", b.ID))
			b, err = a.advance(b.ID, backup.Undoing, func(b *backup.Backup) { b.Failure = interrupted })
		case backup.Calling:
			b, err = a.advance(b.ID, backup.Unresolved, nil)
		}
		if err != nil {
			return err
		}
		if _, err := a.launch(b); err != nil {
			return err
		}
	}
	return nil
}
