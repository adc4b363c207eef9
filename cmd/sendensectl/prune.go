package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) backupPrune() *cobra.Command {
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
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeFirst(vmNames),
		PreRunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				r.VMName, r.All = args[0], true
			}
			if !r.DryRun && !yes && !isTerminal(a.stdin) {
				return errors.New("there is nobody to ask: say --yes to prune without a question, or --dry-run to see what would be done")
			}
			return nil
		},
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			if !r.DryRun && !yes {
				if err := a.confirmPrune(ctx, c, r); err != nil {
					return err
				}
			}
			report, err := c.Prune(ctx, r)
			if err != nil {
				return err
			}
			if err := a.show(report, func(p *printer) { printPrune(p, report) }); err != nil {
				return err
			}
			return notPruned(report)
		}),
	}
	c.Flags().BoolVar(&r.DryRun, "dry-run", false, "only show what would be done, and why")
	c.Flags().BoolVar(&r.All, "all", false, "also show what is kept")
	c.Flags().StringVar(&r.RepositoryID, "repository", "", "only in the repository of this `ID`")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	a.completeFlag(c, "repository", repositoryIDs)
	return c
}

// confirmPrune asks the user, who sees what it is about.
func (a *app) confirmPrune(ctx context.Context, c *rpc.Client, r rpc.PruneRequest) error {
	r.DryRun = true
	report, err := c.Prune(ctx, r)
	if err != nil || report.RemovedCount == 0 {
		return err
	}
	p := a.printer()
	printPrune(p, report)
	fmt.Fprintf(a.stderr, "%s\nRemove %s for good? [y/N] ", p.text(), count(report.RemovedCount, "restore point"))
	return a.confirmed(ctx)
}

func printPrune(p *printer, r rpc.PruneReport) {
	var rows [][]string
	for _, x := range r.Points {
		rows = append(rows, []string{x.BackupID, actionText(x), humanSize(x.Bytes), shortTime(x.CreatedAt), x.PolicyID, x.RepositoryID, x.VMName, whyText(x)})
	}
	if len(rows) > 0 {
		p.table([]column{
			{title: "backup"},
			{title: "action"},
			{title: "takes", rank: 1},
			{title: "created", rank: 2},
			{title: "policy", rank: 3},
			{title: "repository", rank: 5},
			{title: "vm", rank: 4, most: nameWidth},
			{title: "why"},
		}, rows)
		p.line("")
	}
	verbs, freed := [3]string{"removed", "kept", "failed"}, humanSize(max(r.FreedBytes, 0))+" came free"
	if r.DryRun {
		verbs, freed = [3]string{"to be removed", "to be kept", ""}, "up to "+humanSize(max(r.FreedBytes, 0))+" would come free"
	}
	text := fmt.Sprintf("%s %s, %d %s", count(r.RemovedCount, "restore point"), verbs[0], r.KeptCount, verbs[1])
	if r.FailedCount > 0 {
		text += fmt.Sprintf(", %d %s", r.FailedCount, verbs[2])
	}
	p.line("%s; %s", text, freed)
	misdated := 0
	for _, x := range r.Points {
		if x.Misdated != "" {
			misdated++
		}
	}
	if misdated > 0 {
		p.line("")
		kept := "they are kept, and count for no rule. Delete those that are not wanted."
		if misdated == 1 {
			kept = "it is kept, and counts for no rule. Delete it if it is not wanted."
		}
		p.prosaic("%s dated by a clock that was wrong, or is now: %s", isOrAre(misdated, "restore point"), kept)
	}
	if r.DryRun {
		for _, h := range r.Held {
			p.line("")
			printHeld(p, h)
		}
	}
}

func pruneCommand(vm, flags string) string {
	if strings.HasPrefix(vm, "-") {
		return "sendensectl backup prune " + flags + " -- " + shellWord(vm)
	}
	return "sendensectl backup prune " + shellWord(vm) + " " + flags
}

// heldText is one line about a daily run that is held.
func heldText(h rpc.HeldPrune) string {
	return fmt.Sprintf("the daily prune of VM %s in repository %s is held: it would remove %d of %d restore points at once; look at: %s",
		h.VMName, h.RepositoryID, h.RemovedCount, h.PointCount, pruneCommand(h.VMName, "--dry-run"))
}

// printHeld explains what the daily run does not do by itself, and how to have it done.
func printHeld(p *printer, h rpc.HeldPrune) {
	p.prosaic("The daily run leaves VM %s in repository %s to you: it would remove %d of %d restore points at once. That is right after the "+
		"policy was changed or applied for the first time, and wrong if a clock is.", h.VMName, h.RepositoryID, h.RemovedCount, h.PointCount)
	p.line("See why: %s", pruneCommand(h.VMName, "--dry-run"))
	p.line("If it is right: %s", pruneCommand(h.VMName, "--repository "+h.RepositoryID+" --yes"))
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
	return fmt.Errorf("%s could not be removed, the reasons are above", count(r.FailedCount, "restore point"))
}
