package crashtest_test

import (
	"context"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// nightly is a group of all VMs, and a schedule that is never due by itself.
const nightly = `
[[group]]
id = "all"
vms = ["*"]
[[schedule]]
id = "nightly"
groups = ["all"]
calendar = "2199-01-01 00:00"
repository = "main"
retries = 3
retry_wait = "1s"
`

// scheduledRun begins a run and waits for its end.
func scheduledRun(ctx context.Context, c *crash) error {
	err := c.with(ctx, func(client *rpc.Client) error {
		_, err := client.RunSchedule(ctx, "nightly")
		return err
	})
	if err != nil {
		return answered(err)
	}
	return runEnded(ctx, c)
}

// runEnded waits until every run on record has ended, and wants each to have backed its VM up: a run that was cut short is continued.
func runEnded(ctx context.Context, c *crash) error {
	for {
		var list rpc.RunList
		err := c.with(ctx, func(client *rpc.Client) (err error) {
			list, err = client.ListRuns(ctx, rpc.RunQuery{})
			return err
		})
		if err != nil {
			return err
		}
		running := false
		for _, r := range list.Runs {
			running = running || r.State == rpc.RunRunning
			if r.State != rpc.RunRunning && r.State != rpc.RunCompleted {
				return fmt.Errorf("run %s is %s: %+v", r.RunID, r.State, r)
			}
		}
		if !running {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("runs %+v: %w", list.Runs, context.Cause(ctx))
		}
	}
}

// pauseSchedule pauses the schedule and resumes it.
func pauseSchedule(ctx context.Context, c *crash) error {
	return c.with(ctx, func(client *rpc.Client) error {
		if _, err := client.PauseSchedule(ctx, rpc.SchedulePause{ScheduleID: "nightly", Reason: "new disks"}); err != nil {
			return err
		}
		c.pauses.paused.Store(true)
		if _, err := client.ListSchedules(ctx, rpc.ScheduleQuery{}); err != nil {
			return err
		}
		c.pauses.paused.Store(false)
		_, err := client.ResumeSchedule(ctx, "nightly")
		return err
	})
}

// scheduleResumed wants the schedule to be paused if that was answered, and ends the pause twice.
func scheduleResumed(ctx context.Context, c *crash) error {
	return c.with(ctx, func(client *rpc.Client) error {
		list, err := client.ListSchedules(ctx, rpc.ScheduleQuery{})
		if err != nil {
			return err
		}
		s := list.Schedules[0]
		if c.pauses.paused.Load() && s.Paused == nil || s.Paused != nil && s.Paused.Reason != "new disks" {
			return fmt.Errorf("the pause is %+v", s.Paused)
		}
		for range 2 {
			if s, err := client.ResumeSchedule(ctx, "nightly"); err != nil || s.Paused != nil {
				return fmt.Errorf("after resume it is %+v: %w", s.Paused, err)
			}
		}
		return nil
	})
}
