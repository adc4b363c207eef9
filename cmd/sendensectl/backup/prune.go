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
		Use: "prune [VM]", Short: "Remove the restore points that the policies keep no longer",
		Long: `Remove the restore points that the policies of the configuration keep no longer, of one VM or of all.

--dry-run only shows what would be done: of every restore point what becomes of it, why, and how much room it takes. For a
VM, or with --all, what is kept is shown, too. What is removed cannot be brought back: on a terminal you see the same first,
and are asked, unless you say --yes; a script has to say it.

An expired restore point that kept ones stand on waits until they expire, or is merged into them, as its policy says
(expired_middle). A restore point whose date cannot be right, because it lies in the future or contradicts the order in which the
restore points were made, is kept and counts for no rule. The daily run leaves a VM to you where it would remove more at once than
prune.hold_above_percent; this command does it. Whatever happens meanwhile, what is kept can be restored. Interrupting the command stops the waiting, not
the pruning. The exit code is 1 if anything could not be removed.`,
		Example: `  sendensectl backup prune --dry-run
  sendensectl backup prune pgtest1 --dry-run --output json
  sendensectl backup prune --repository main --yes`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.CompleteFirst(command.VMNames),
		PreRunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				r.VMName, r.All = args[0], true
			}
			if !r.DryRun && !yes && !terminal.Is(a.Stdin) {
				return errors.New("there is nobody to ask: say --yes to prune without a question, or --dry-run to see what would be done")
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
	c.Flags().BoolVar(&r.All, "all", false, "also show what is kept")
	c.Flags().StringVar(&r.RepositoryID, "repository", "", "only in the repository of this `ID`")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	a.CompleteFlag(c, "repository", command.RepositoryIDs)
	return c
}

// confirmPrune asks the user, who sees what it is about.
func confirmPrune(ctx context.Context, a *command.App, c *rpc.Client, r rpc.PruneRequest) error {
	r.DryRun = true
	report, err := c.Prune(ctx, r)
	if err != nil || report.RemovedCount == 0 {
		return err
	}
	p := a.Printer()
	printPrune(p, report)
	fmt.Fprintf(a.Stderr, "%s\nRemove %s for good? [y/N] ", p.Text(), human.Count(report.RemovedCount, "restore point"))
	return a.Confirm(ctx)
}

func printPrune(p *output.Printer, r rpc.PruneReport) {
	var rows [][]string
	for _, x := range r.Points {
		rows = append(rows, []string{x.BackupID, actionText(x), human.Size(x.Bytes), human.ShortTime(x.CreatedAt), x.PolicyID, x.RepositoryID, x.VMName, whyText(x)})
	}
	if len(rows) > 0 {
		p.Table([]output.Column{
			{Title: "backup"},
			{Title: "action"},
			{Title: "takes", Rank: 1},
			{Title: "created", Rank: 2},
			{Title: "policy", Rank: 3},
			{Title: "repository", Rank: 5},
			{Title: "vm", Rank: 4, Most: output.NameWidth},
			{Title: "why"},
		}, rows)
		p.Line("")
	}
	verbs, freed := [3]string{"removed", "kept", "failed"}, human.Size(max(r.FreedBytes, 0))+" came free"
	if r.DryRun {
		verbs, freed = [3]string{"to be removed", "to be kept", ""}, "up to "+human.Size(max(r.FreedBytes, 0))+" would come free"
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
		kept := "they are kept, and count for no rule. Delete those that are not wanted."
		if misdated == 1 {
			kept = "it is kept, and counts for no rule. Delete it if it is not wanted."
		}
		p.Prose("%s dated by a clock that was wrong, or is now: %s", human.CountAre(misdated, "restore point"), kept)
	}
	if r.DryRun {
		for _, h := range r.Held {
			p.Line("")
			describe.PrintHeldPrune(p, h)
		}
	}
}

// actionText says what becomes of a restore point, or became of it.
func actionText(x rpc.PrunedPoint) string {
	switch {
	case x.Failure != nil:
		return "failed"
	case x.Removed && x.Action == rpc.PruneMerge:
		return "merged"
	case x.Removed:
		return "deleted"
	}
	return string(x.Action)
}

// whyText says why, and what of it failed.
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

// notPruned is an error if anything could not be removed.
func notPruned(r rpc.PruneReport) error {
	if r.FailedCount == 0 {
		return nil
	}
	return fmt.Errorf("%s could not be removed, the reasons are above", human.Count(r.FailedCount, "restore point"))
}
