package backup

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/rpc"
)

func pruneCommand(a *command.App) *cobra.Command {
	var r rpc.PruneRequest
	var yes bool
	c := &cobra.Command{
		Use: "prune [VM]", Short: "Delete the restore points that the policies no longer keep",
		Long: `Delete the restore points that the policies of the configuration no longer keep, of one VM or of all VMs. This cannot be undone.

With --dry-run, the command only shows, for each restore point, the action, the reason and the disk space. With VM or --all, it
also shows the restore points that are kept. On a terminal, the command shows the same and asks for confirmation, unless --yes is
given. A script must give --yes.

If an expired restore point is the parent of one that is kept, it stays until that one expires, or is merged into it. The policy
decides (expired_middle). If the date of a restore point is wrong (it lies in the future, or contradicts the order in which the
restore points were made), the restore point is kept, and no rule counts it. If the daily prune would remove more than
prune.hold_above_percent of a VM at once, it is held: run this command to prune that VM.

Restore points that are kept can be restored at any time, also during the prune. Interrupting the command stops the wait, not the
prune. The exit code is 1 if a restore point could not be removed.`,
		Example: `  sendensectl backup prune --dry-run
  sendensectl backup prune pgtest1 --dry-run --output json
  sendensectl backup prune --repository main --yes`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.CompleteFirst(command.VMNames),
		PreRunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				r.VMName, r.All = args[0], true
			}
			if !r.DryRun && !yes && !terminal.Is(a.Stdin) {
				return errors.New("no terminal for the confirmation: to prune without it, use --yes; to see what would be done, use --dry-run")
			}
			return nil
		},
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			if !r.DryRun && !yes {
				if err := confirmPrune(ctx, a, c, r); err != nil {
					return err
				}
			}
			report, err := c.Prune(ctx, r)
			if err != nil {
				return err
			}
			if err := a.Show(report, func(p *output.Printer) { printPrune(p, report) }); err != nil {
				return err
			}
			return notPruned(report)
		}),
	}
	c.Flags().BoolVar(&r.DryRun, "dry-run", false, "only show what would be done, and why")
	c.Flags().BoolVar(&r.All, "all", false, "also show the restore points that are kept")
	c.Flags().StringVar(&r.RepositoryID, "repository", "", "only in the repository with this `ID`")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	a.CompleteFlag(c, "repository", command.RepositoryIDs)
	return c
}

// confirmPrune shows what would be done and asks for confirmation.
func confirmPrune(ctx context.Context, a *command.App, c *rpc.Client, r rpc.PruneRequest) error {
	r.DryRun = true
	report, err := c.Prune(ctx, r)
	if err != nil || report.RemovedCount == 0 {
		return err
	}
	p := a.Printer()
	printPrune(p, report)
	fmt.Fprintf(a.Stderr, "%s\nRemove %s permanently? [y/N] ", p.Text(), human.Count(report.RemovedCount, "restore point"))
	return a.Confirm(ctx)
}

func printPrune(p *output.Printer, r rpc.PruneReport) {
	var rows [][]string
	for _, x := range r.Points {
		rows = append(rows, []string{x.BackupID, actionText(x, r.DryRun), human.Size(x.Bytes), human.ShortTime(x.CreatedAt), x.PolicyID, x.RepositoryID, x.VMName, whyText(x)})
	}
	if len(rows) > 0 {
		p.Table([]output.Column{
			{Title: "backup"},
			{Title: "action"},
			{Title: "size", Rank: 1},
			{Title: "created", Rank: 2},
			{Title: "policy", Rank: 3},
			{Title: "repository", Rank: 5},
			{Title: "vm", Rank: 4, Most: output.NameWidth},
			{Title: "why"},
		}, rows)
		p.Line("")
	}
	verbs, freed := [3]string{"removed", "kept", "failed"}, human.Size(max(r.FreedBytes, 0))+" freed"
	if r.DryRun {
		verbs, freed = [3]string{"to be removed", "to be kept", "cannot be removed"}, "would free about "+human.Size(max(r.FreedBytes, 0))
	}
	text := fmt.Sprintf("%s %s, %d %s", human.Count(r.RemovedCount, "restore point"), verbs[0], r.KeptCount, verbs[1])
	if r.FailedCount > 0 {
		text += fmt.Sprintf(", %d %s", r.FailedCount, verbs[2])
	}
	p.Line("%s; %s", text, freed)
	misdated := 0
	for _, x := range r.Points {
		if x.Misdated != "" {
			misdated++
		}
	}
	if misdated > 0 {
		p.Line("")
		p.Prose("%s dated by a clock that was or is wrong. The prune keeps restore points with such a date, and no rule counts them. "+
			"Delete the unwanted ones: sendensectl backup delete BACKUP", human.CountAre(misdated, "restore point"))
	}
	for _, part := range r.Repositories {
		if part.Failure != nil {
			p.Line("")
			p.Prose("Not complete: %s", part.Failure.Message)
		}
	}
	if r.DryRun {
		for _, h := range r.Held {
			p.Line("")
			describe.PrintHeldPrune(p, h)
		}
	}
}

// actionText is what will be done with a restore point, or was done.
func actionText(x rpc.PrunedPoint, dryRun bool) string {
	switch {
	case x.Failure != nil && dryRun:
		return "blocked"
	case x.Failure != nil:
		return "failed"
	case x.Removed && x.Action == rpc.PruneMerge:
		return "merged"
	case x.Removed:
		return "deleted"
	}
	return string(x.Action)
}

// whyText is the reason of the action, and of its failure.
func whyText(x rpc.PrunedPoint) string {
	why := strings.Join(x.Reasons, ", ")
	if len(x.Into) > 0 {
		why += ", into " + strings.Join(x.Into, ", ")
	}
	if x.Failure != nil {
		why += ": " + x.Failure.Message
	}
	return why
}

// notPruned is an error if a restore point could not be removed, or the policies were not applied to a repository.
func notPruned(r rpc.PruneReport) error {
	if r.FailedCount > 0 {
		text := "%s could not be removed; the reasons are above"
		if r.DryRun {
			text = "%s cannot be removed; the reasons are above"
		}
		return fmt.Errorf(text, human.Count(r.FailedCount, "restore point"))
	}
	for _, part := range r.Repositories {
		if !part.Complete {
			return fmt.Errorf("repository %s was not pruned completely; the reason is above", part.RepositoryID)
		}
	}
	return nil
}
