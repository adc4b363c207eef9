// Package schedule has the commands for groups of VMs, schedules, and their runs.
package schedule

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// Command makes "schedule" with its verbs.
func Command(a *command.App) *cobra.Command {
	return command.WithVerbs("schedule", "Show, run and pause the schedules of backups",
		listCommand(a), showCommand(a), nextCommand(a), runNowCommand(a), pauseCommand(a), resumeCommand(a))
}

func listCommand(a *command.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the schedules with their next and last runs", Args: command.NoArgs}
	return a.Poll(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*output.Printer), error) {
		list, err := c.ListSchedules(ctx, rpc.ScheduleQuery{})
		return list, func(p *output.Printer) { printSchedules(p, list.Schedules) }, err
	})
}

func printSchedules(p *output.Printer, list []rpc.Schedule) {
	var rows [][]string
	for _, s := range list {
		last := ""
		if s.Last != nil {
			last = human.ShortTime(s.Last.StartedAt) + " " + runState(*s.Last)
		}
		rows = append(rows, []string{s.ScheduleID, strings.Join(s.GroupIDs, ", "), s.Calendar, next(s), last})
	}
	p.Table([]output.Column{{Title: "schedule"}, {Title: "groups", Rank: 1}, {Title: "calendar", Rank: 2}, {Title: "next"}, {Title: "last run"}}, rows)
	p.None(len(rows), "no schedules are configured; to add one: [[group]] and [[schedule]] in the configuration of the agent")
	for _, s := range list {
		troubles(p, s)
	}
}

// next is when the next run of a schedule begins.
func next(s rpc.Schedule) string {
	switch {
	case s.Paused != nil:
		return "paused"
	case s.Error != "":
		return "unknown"
	case len(s.Next) == 0:
		return "never"
	}
	return human.ShortTime(s.Next[0])
}

func troubles(p *output.Printer, s rpc.Schedule) {
	if s.Paused != nil {
		p.Prose("Schedule %s is %s. To let it continue: sendensectl schedule resume %s", s.ScheduleID, describe.Paused(*s.Paused), s.ScheduleID)
	}
	if s.Error != "" {
		p.Prose("Schedule %s does not run: %s", s.ScheduleID, s.Error)
	}
}

// find returns one schedule with its next times.
func find(ctx context.Context, c *rpc.Client, id string, count int) (rpc.Schedule, error) {
	list, err := c.ListSchedules(ctx, rpc.ScheduleQuery{ScheduleID: id, Count: count})
	if err != nil {
		return rpc.Schedule{}, err
	}
	return list.Schedules[0], nil
}

func showCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "show SCHEDULE", Short: "Show a schedule", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.ScheduleIDs),
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			s, err := find(ctx, c, args[0], 1)
			if err != nil {
				return err
			}
			return a.Show(s, func(p *output.Printer) { printSchedule(p, s) })
		}),
	}
}

func printSchedule(p *output.Printer, s rpc.Schedule) {
	running, last := "", "none"
	if s.Running != nil {
		running = s.Running.RunID
	}
	if s.Last != nil {
		last = s.Last.RunID + ", " + runState(*s.Last)
	}
	p.Pairs("schedule", s.ScheduleID, "groups", strings.Join(s.GroupIDs, ", "), "calendar", s.Calendar, "time zone", cmp.Or(s.TimeZone, "of the host"),
		"backup type", string(s.BackupType), "next", next(s), "in progress", running, "last run", last)
	troubles(p, s)
}

func nextCommand(a *command.App) *cobra.Command {
	count := 0
	c := &cobra.Command{
		Use: "next SCHEDULE", Short: "List when the next runs of a schedule begin", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.ScheduleIDs),
		Long: `List when the next runs of a schedule begin, in the time zone of this terminal. Blackout days are left out.`,
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			s, err := find(ctx, c, args[0], count)
			if err != nil {
				return err
			}
			return a.Show(s.Next, func(p *output.Printer) {
				for _, at := range s.Next {
					p.Line("%s  %s", at.Local().Format("Mon"), human.Time(at))
				}
				p.None(len(s.Next), "the schedule begins no runs: "+cmp.Or(s.Error, next(s)))
				troubles(p, s)
			})
		}),
	}
	c.Flags().IntVarP(&count, "count", "n", 10, "how many, 1 to 1000")
	return c
}

func runNowCommand(a *command.App) *cobra.Command {
	wait := false
	c := &cobra.Command{
		Use: "run SCHEDULE", Short: "Begin a run of a schedule now", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.ScheduleIDs),
		Long: `Begin a run of a schedule now: all VMs of its groups are backed up, as if it were due. The run has no window. The schedule continues as
it is. A schedule has one run at a time.`,
		Example: `  sendensectl schedule run nightly --wait`,
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			r, err := c.RunSchedule(ctx, args[0])
			if err != nil {
				return err
			}
			if wait {
				return follow(ctx, a, c, r.RunID)
			}
			return a.Show(r, func(p *output.Printer) {
				p.Prose("Run %s has begun. To see how it continues: sendensectl run watch %s", r.RunID, r.RunID)
			})
		}),
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait until the run has ended; the exit code is 0 only if every VM was backed up")
	return c
}

func pauseCommand(a *command.App) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "pause SCHEDULE", Short: "Stop a schedule from beginning runs", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.ScheduleIDs),
		Long: `Stop a schedule from beginning runs until it is resumed, also after a restart of the agent. A run in progress continues: to end it, run
cancel. A run that is due meanwhile is recorded as skipped, and is not made up. A run by request is still possible.`,
		Example: `  sendensectl schedule pause nightly --reason "storage is moved"`,
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			s, err := c.PauseSchedule(ctx, rpc.SchedulePause{ScheduleID: args[0], Reason: reason})
			if err != nil {
				return err
			}
			return a.Show(s, func(p *output.Printer) { troubles(p, s) })
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the messages about it")
	return c
}

func resumeCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "resume SCHEDULE", Short: "End the pause of a schedule", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.ScheduleIDs),
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			s, err := c.ResumeSchedule(ctx, args[0])
			if err != nil {
				return err
			}
			return a.Show(s, func(p *output.Printer) {
				p.Prose("Schedule %s is not paused. Its next run: %s", s.ScheduleID, next(s))
			})
		}),
	}
}

// took is how long a run has taken, or takes.
func took(r rpc.Run, now time.Time) string {
	if r.State == rpc.RunSkipped {
		return ""
	}
	if !r.EndedAt.IsZero() {
		now = r.EndedAt
	}
	return human.Duration(now.Sub(r.StartedAt))
}
