package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) restoreWatch() *cobra.Command {
	var r rpc.RestoreWatchRequest
	c := &cobra.Command{
		Use:   "watch [RESTORE]",
		Short: "Show the progress of restores",
		Long: `Watch a restore until it has ended, and then exit with code 0 if it was stopped or its time was over, and 1 if it failed;
or watch all restores, or those of one VM, until interrupted. When the agent is restarted, the watching goes on. With --output
json every event is one line of JSON.`,
		Args: maybeOne, ValidArgsFunction: a.completeFirst(activeRestores),
		PreRunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				r.RestoreID = args[0]
			}
			if r.RestoreID != "" && r.VMName != "" {
				return errors.New("restore watch: want a RESTORE or --vm, not both")
			}
			return nil
		},
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error { return a.followRestores(ctx, c, r) }),
	}
	c.Flags().StringVar(&r.VMName, "vm", "", "only the restores of the VM of this `NAME`")
	a.completeFlag(c, "vm", vmNames)
	return c
}

// followRestores watches until the one restore asked for has ended, or for ever, and connects again when the agent went away.
func (a *app) followRestores(ctx context.Context, c *rpc.Client, r rpc.RestoreWatchRequest) error {
	told := map[string]rpc.RestoreState{}
	for {
		last, err := a.tellRestores(c.WatchRestores(ctx, r), told)
		switch {
		case ctx.Err() != nil:
			return interruptedRestores(r.RestoreID)
		case err == nil && last != nil && last.State == rpc.RestoreFailed:
			return errors.New(restoreLine(*last))
		case err == nil || !wentAway(err):
			return err
		}
		fmt.Fprintln(a.stderr, a.away())
		if c, err = a.reconnect(ctx); err != nil {
			return err
		}
		fmt.Fprintln(a.stderr, "the agent is back")
		defer c.Close()
	}
}

// interruptedRestores is the end of the watching of one restore, or of all of them, which have no other end.
func interruptedRestores(id string) error {
	e := &exitError{code: exitOK, err: errors.New("no longer watching; the restores go on")}
	if id != "" {
		e.code = exitFailed
	}
	return e
}

// tellRestores prints each change of a state, and returns the last record.
func (a *app) tellRestores(events func(func(rpc.Event, error) bool), told map[string]rpc.RestoreState) (*rpc.Restore, error) {
	var last *rpc.Restore
	for e, err := range events {
		switch {
		case err != nil:
			return last, err
		case a.output == outputJSON:
			newJSONLines(a.stdout, a.stderr).show(e)
		case e.Restore != nil && told[e.Restore.RestoreID] != e.Restore.State:
			fmt.Fprintln(a.stdout, safe(restoreLine(*e.Restore)))
		}
		if e.Restore != nil {
			last = e.Restore
			told[last.RestoreID] = last.State
		}
	}
	return last, nil
}

// restoreLine is how a restore stands, in one line.
func restoreLine(r rpc.Restore) string {
	what := "disks"
	if r.FilesSocket != "" {
		what = "files"
	}
	line := fmt.Sprintf("%s: %s, %s of %s", r.RestoreID, r.State, what, r.BackupID)
	if r.Failure != nil {
		line += ": " + r.Failure.Message
	}
	return line
}
