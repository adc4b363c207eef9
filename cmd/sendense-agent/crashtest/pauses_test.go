package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/sendense/backup-agent/rpc"
)

// pauses is what is known of the pause of the repository.
type pauses struct {
	paused atomic.Bool // the answer to repository.pause came, and repository.resume was not asked for
}

// pauseAndResume pauses the repository, wants a start to be refused, and ends the pause.
func pauseAndResume(ctx context.Context, c *crash) error {
	return c.with(ctx, func(client *rpc.Client) error {
		list, err := client.ListRepositories(ctx)
		if err != nil {
			return err
		}
		id := list.Repositories[0].RepositoryID
		if _, err := client.PauseRepository(ctx, rpc.PauseRequest{RepositoryID: id, Reason: "new disks"}); err != nil {
			return err
		}
		c.pauses.paused.Store(true)
		_, err = client.StartBackup(ctx, rpc.StartRequest{VMName: c.vm.record.VMName, BackupType: rpc.Full, RequestID: "refused"})
		var said *rpc.Error
		if !errors.As(err, &said) || said.Data.Reason != rpc.ReasonRepositoryPaused {
			return fmt.Errorf("a start in a paused repository: %w", err)
		}
		c.pauses.paused.Store(false)
		_, err = client.ResumeRepository(ctx, id)
		return err
	})
}

// resumed wants the repository to be paused if that was answered, and ends the pause twice.
func resumed(ctx context.Context, c *crash) error {
	return c.with(ctx, func(client *rpc.Client) error {
		list, err := client.ListRepositories(ctx)
		if err != nil {
			return err
		}
		r := list.Repositories[0]
		if c.pauses.paused.Load() && (r.Paused == nil || r.Paused.Reason != "new disks") {
			return fmt.Errorf("the pause was answered, and now it is %+v", r.Paused)
		}
		for range 2 {
			if s, err := client.ResumeRepository(ctx, r.RepositoryID); err != nil || s.Paused != nil {
				return fmt.Errorf("after resume it is %+v: %w", s.Paused, err)
			}
		}
		return nil
	})
}
