package repository

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

func pauseCommand(a *command.App) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "pause REPOSITORY", Short: "Pause a repository for maintenance", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.RepositoryIDs),
		Long: `Nothing new starts in the repository until it is resumed, also after a restart of the agent.

Backups wait in the queue if their requests allow that, and are refused otherwise. Verifications
and prunes of the schedule are put off. Restores, merges, deletions and verifications by request
are refused. What runs ends by itself; the command says what that is. Other repositories are not
affected.`,
		Example: `  sendensectl repository pause local --reason "new disks"`,
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			s, err := c.PauseRepository(ctx, rpc.PauseRequest{RepositoryID: args[0], Reason: reason})
			if err != nil {
				return err
			}
			return a.Show(s, func(p *output.Printer) { printPaused(p, s) })
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the messages about it")
	return c
}

func printPaused(p *output.Printer, s rpc.PauseState) {
	p.Prose("Repository %s is %s. Nothing new starts there.", s.RepositoryID, describe.Paused(*s.Paused))
	if running := activity(s.Activity); running != "" {
		p.Prose("In progress there: %s. Wait until that has ended: sendensectl repository show %s", running, s.RepositoryID)
	}
}

func resumeCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "resume REPOSITORY", Short: "End the pause of a repository", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.RepositoryIDs),
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			s, err := c.ResumeRepository(ctx, args[0])
			if err != nil {
				return err
			}
			return a.Show(s, func(p *output.Printer) { p.Prose("Repository %s is not paused.", s.RepositoryID) })
		}),
	}
}

// activity lists what is in progress in a repository; "" for nothing.
func activity(a rpc.Activity) string {
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{{a.Backups, "backup"}, {a.Restores, "restore"}, {a.Merges, "merge"}, {a.Verifications, "verification"}} {
		if c.n > 0 {
			parts = append(parts, human.Count(c.n, c.what))
		}
	}
	if a.Queued > 0 {
		parts = append(parts, fmt.Sprintf("%d queued", a.Queued))
	}
	return strings.Join(parts, ", ")
}
