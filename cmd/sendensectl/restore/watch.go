package restore

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/progress"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/rpc"
)

func watchCommand(a *command.App) *cobra.Command {
	var r rpc.RestoreWatchRequest
	c := &cobra.Command{
		Use:   "watch [RESTORE]",
		Short: "Show the progress of restores",
		Long: `Watch a restore until it has ended. The exit code is 0 if it was stopped or expired, and 1 if it failed. Without RESTORE, watch all
restores, or those of one VM, until interrupted.

If the agent restarts, the command reconnects. With --output json, every event is one line of JSON.

` + reference.HelpRestore,
		Args: command.MaybeOneArg, ValidArgsFunction: a.CompleteFirst(command.ActiveRestores),
		PreRunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				r.RestoreID = args[0]
			}
			if r.RestoreID != "" && r.VMName != "" {
				return errors.New("restore watch: want RESTORE or --vm, not both")
			}
			return nil
		},
		RunE: a.AskAbout(command.ARestore, func(ctx context.Context, c *rpc.Client, args []string) error {
			if len(args) == 1 {
				r.RestoreID = args[0]
			}
			return followRestores(ctx, a, c, r)
		}),
	}
	c.Flags().StringVar(&r.VMName, "vm", "", "only the restores of the VM with this `NAME`")
	a.CompleteFlag(c, "vm", command.VMNames)
	return c
}

// followRestores watches until the restore has ended, or, for more than one, without end. It reconnects if the agent stops
// answering.
func followRestores(ctx context.Context, a *command.App, c *rpc.Client, r rpc.RestoreWatchRequest) error {
	shown := map[string]rpc.RestoreState{}
	for {
		last, err := showRestores(a, c.WatchRestores(ctx, r), shown)
		switch {
		case ctx.Err() != nil:
			return interruptedRestores(r.RestoreID)
		case err == nil && last != nil && last.State == rpc.RestoreFailed:
			return errors.New(describe.Restore(*last))
		case err == nil || !command.WentAway(err):
			return err
		}
		fmt.Fprintln(a.Stderr, a.AwayText())
		if c, err = a.Reconnect(ctx); err != nil {
			return err
		}
		fmt.Fprintln(a.Stderr, "the agent is back")
		defer c.Close()
	}
}

// interruptedRestores is the error if the user stops watching one restore, or all if the id is "". The restores continue.
func interruptedRestores(id string) error {
	e := &exit.Error{Code: exit.OK, Err: errors.New("no longer watching; the restores continue")}
	if id != "" {
		e.Code = exit.Failed
	}
	return e
}

// showRestores prints each change of state, and returns the last record.
func showRestores(a *command.App, events func(func(rpc.Event, error) bool), shown map[string]rpc.RestoreState) (*rpc.Restore, error) {
	var last *rpc.Restore
	for e, err := range events {
		switch {
		case err != nil:
			return last, err
		case a.Output == command.JSON:
			progress.NewJSONLines(a.Stdout, a.Stderr).Show(e)
		case e.Restore != nil && shown[e.Restore.RestoreID] != e.Restore.State:
			fmt.Fprintln(a.Stdout, human.Safe(describe.Restore(*e.Restore)))
		}
		if e.Restore != nil {
			last = e.Restore
			shown[last.RestoreID] = last.State
		}
	}
	return last, nil
}
