package schedule

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// Run makes "run" with its verbs.
func Run(a *command.App) *cobra.Command {
	return command.WithVerbs("run", "Show and cancel the runs of schedules", runListCommand(a), runShowCommand(a), runWatchCommand(a), runCancelCommand(a))
}

func runListCommand(a *command.App) *cobra.Command {
	var q rpc.RunQuery
	var since, until string
	c := &cobra.Command{
		Use: "list", Short: "List the runs of schedules, the latest first", Args: command.NoArgs,
		Long: `List the runs of schedules, the latest due time first.

--since and --until take a time (2026-11-25, "2026-11-25 22:30", 2026-11-25T22:30:00Z) or an age (90m, 12h, 7d). A time without a
zone is local.`,
	}
	a.Poll(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*output.Printer), error) {
		list, err := c.ListRuns(ctx, q)
		return list, func(p *output.Printer) { printRuns(p, list.Runs, time.Now()) }, err
	})
	inner := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) (err error) {
		if q.Since, err = command.ParseMoment(since, time.Now()); err != nil {
			return fmt.Errorf("--since %w", err)
		}
		if q.Until, err = command.ParseMoment(until, time.Now()); err != nil {
			return fmt.Errorf("--until %w", err)
		}
		return inner(c, args)
	}
	c.Flags().StringVar(&since, "since", "", "only runs that were due at this `TIME` or later")
	c.Flags().StringVar(&until, "until", "", "only runs that were due before this `TIME`")
	c.Flags().StringVar(&q.ScheduleID, "schedule", "", "only runs of this `SCHEDULE`")
	c.Flags().BoolVar(&q.Active, "active", false, "only runs in progress")
	c.Flags().IntVar(&q.Limit, "limit", 0, "list at most this many, 1 to 1000 (default: 100)")
	a.CompleteFlag(c, "schedule", command.ScheduleIDs)
	return c
}

func printRuns(p *output.Printer, list []rpc.Run, now time.Time) {
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{
			r.RunID, runState(r), human.ShortTime(r.StartedAt), took(r, now),
			strconv.Itoa(r.Counts.Completed), strconv.Itoa(r.Counts.Failed), strconv.Itoa(r.Counts.Skipped + r.Counts.Canceled), r.Why,
		})
	}
	p.Table([]output.Column{
		{Title: "run"}, {Title: "state"}, {Title: "began", Rank: 2}, {Title: "took", Rank: 3}, {Title: "completed"}, {Title: "failed"}, {Title: "not tried"}, {Title: "why", Rank: 1},
	}, rows)
	p.None(len(rows), "no runs are on record")
}

// runState is the state of a run in a word or two.
func runState(r rpc.Run) string {
	if r.State == rpc.RunRunning && r.Canceling {
		return "being canceled"
	}
	return string(r.State)
}

func runShowCommand(a *command.App) *cobra.Command {
	c := &cobra.Command{
		Use: "show RUN", Short: "Show a run with its VMs", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.RunIDs),
		Long: `Show a run with its VMs: what became of each, how often it was tried, and the first error, of which later ones are often
consequences. -o json shows every try.`,
	}
	return a.Poll(c, func(ctx context.Context, c *rpc.Client, args []string) (any, func(*output.Printer), error) {
		r, err := c.GetRun(ctx, args[0])
		return r, func(p *output.Printer) { printRun(p, r, time.Now()) }, err
	})
}

func printRun(p *output.Printer, r rpc.Run, now time.Time) {
	window := ""
	if !r.WindowEnd.IsZero() {
		window = "until " + human.Time(r.WindowEnd)
	}
	p.Pairs("run", r.RunID, "schedule", r.ScheduleID, "groups", strings.Join(r.GroupIDs, ", "), "state", runState(r), "why", r.Why,
		"due", human.Time(r.Due), "began", human.Time(r.StartedAt), "took", took(r, now), "window", window, "VMs", counts(r))
	for _, w := range r.Warnings {
		p.Prose("%s", w)
	}
	var rows [][]string
	for _, v := range r.VMs {
		rows = append(rows, []string{v.VMName, vmState(v), strconv.Itoa(len(v.Tries)), received(v), lasted(v, now), lastBackup(v), about(v)})
	}
	p.Table([]output.Column{
		{Title: "vm", Most: output.NameWidth},
		{Title: "state"},
		{Title: "tries", Rank: 2},
		{Title: "received", Rank: 3},
		{Title: "took", Rank: 4},
		{Title: "backup", Rank: 5},
		{Title: "first error", Rank: 1},
	}, rows)
}

// counts says how many VMs a run has, and what became of them.
func counts(r rpc.Run) string {
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{{r.Counts.Completed, "completed"}, {r.Counts.Failed, "failed"}, {r.Counts.Skipped, "skipped"}, {r.Counts.Canceled, "canceled"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if open := len(r.VMs) - r.Counts.Completed - r.Counts.Failed - r.Counts.Skipped - r.Counts.Canceled; open > 0 {
		parts = append(parts, fmt.Sprintf("%d to go", open))
	}
	return strings.Join(parts, ", ")
}

// vmState is the state of a VM in a run.
func vmState(v rpc.RunVM) string {
	if v.State == "waiting" && !v.NextTry.IsZero() {
		return "again at " + v.NextTry.Local().Format("15:04")
	}
	return v.State
}

func received(v rpc.RunVM) string {
	var sum uint64
	for _, t := range v.Tries {
		sum += t.ReceivedBytes
	}
	if sum == 0 {
		return ""
	}
	return human.Size(sum)
}

// lasted is how long the last try took, or takes.
func lasted(v rpc.RunVM, now time.Time) string {
	if len(v.Tries) == 0 {
		return ""
	}
	last := v.Tries[len(v.Tries)-1]
	if !last.Ended.IsZero() {
		now = last.Ended
	}
	return human.Duration(now.Sub(last.Began))
}

func lastBackup(v rpc.RunVM) string {
	if len(v.Tries) == 0 {
		return ""
	}
	return v.Tries[len(v.Tries)-1].BackupID
}

// about says why a VM was not backed up at first.
func about(v rpc.RunVM) string {
	if v.FirstError == nil {
		return v.Why
	}
	text := string(v.FirstError.Reason) + ": " + v.FirstError.Message
	if v.Why != "" {
		text += "; " + v.Why
	}
	return text
}

func runWatchCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "watch RUN", Short: "Follow a run until it has ended", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.ActiveRuns),
		Long: `Follow a run until it has ended: each change of a VM is one line. Then the run is shown. The exit code is 0 if every VM was backed up,
else 1. Interrupting the command does not end the run.`,
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error { return follow(ctx, a, c, args[0]) }),
	}
}

// followEvery is how often a run is asked for.
const followEvery = time.Second

// follow prints each change of a VM of a run until it has ended, and shows it then. It fails unless the run is completed. If the agent
// restarts, it waits for it: runs continue.
func follow(ctx context.Context, a *command.App, c *rpc.Client, id string) error {
	seen := map[string]string{}
	for {
		r, err := c.GetRun(ctx, id)
		if err != nil && ctx.Err() == nil && command.WentAway(err) {
			fmt.Fprintln(a.Stderr, a.AwayText())
			if c, err = a.Reconnect(ctx); err == nil {
				defer c.Close()
				continue
			}
		}
		if err != nil {
			return err
		}
		for _, line := range changes(r, seen) {
			fmt.Fprintln(a.Stderr, line)
		}
		if r.State != rpc.RunRunning {
			if err := a.Show(r, func(p *output.Printer) { printRun(p, r, time.Now()) }); err != nil {
				return err
			}
			return outcome(r)
		}
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// changes are the lines for the VMs whose state is not the one that was seen last.
func changes(r rpc.Run, seen map[string]string) (lines []string) {
	for _, v := range r.VMs {
		state := vmState(v)
		if state == "waiting" || seen[v.VMName] == state {
			continue
		}
		seen[v.VMName] = state
		line := human.Safe(v.VMName) + ": " + state
		if why := about(v); why != "" && state != "completed" && state != "running" {
			line += " (" + human.Safe(why) + ")"
		}
		lines = append(lines, line)
	}
	return lines
}

// outcome is nil for a run that is completed, else the reason why it is not.
func outcome(r rpc.Run) error {
	switch r.State {
	case rpc.RunCompleted:
		return nil
	case rpc.RunPartial, rpc.RunFailed:
		return errors.New("run " + r.RunID + ": " + counts(r))
	}
	return errors.New("run " + r.RunID + " is " + string(r.State) + ": " + r.Why)
}

func runCancelCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "cancel RUN", Short: "End a run and cancel its backups in progress", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.ActiveRuns),
		Long: `End a run: nothing more of it starts, and its backups in progress are canceled. What has completed stays. To stop the next runs, pause
the schedule.`,
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			r, err := c.CancelRun(ctx, args[0])
			if err != nil {
				return err
			}
			return a.Show(r, func(p *output.Printer) {
				p.Prose("Run %s is being canceled. To see its end: sendensectl run watch %s", r.RunID, r.RunID)
			})
		}),
	}
}
