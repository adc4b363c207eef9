package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) backupCommand() *cobra.Command {
	return noun("backup", "Backups: under way, done and failed",
		a.backupStart(), a.backupWatch(), a.backupWait(), a.backupList(), a.backupShow(), a.backupCancel(), a.backupDelete(),
		a.backupVerify(), a.backupChain(), a.backupPrune(), a.backupSyntheticFull(), a.backupConsolidate())
}

func (a *app) backupShow() *cobra.Command {
	return &cobra.Command{
		Use: "show BACKUP", Short: "Show a backup and its disks", Args: oneArg, ValidArgsFunction: a.completeFirst(anyBackups),
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			b, err := c.GetBackup(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(b, func(p *printer) { printBackup(p, b) })
		}),
	}
}

func (a *app) backupCancel() *cobra.Command {
	var of cancelFlags
	cmd := &cobra.Command{
		Use: "cancel BACKUP", Short: "Cancel a backup and remove what it made; or stop a merge or a verification", Args: oneArg, ValidArgsFunction: a.completeFirst(activeBackups),
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			b, err := of.cancel(ctx, c, args[0])
			if err != nil {
				return err
			}
			return a.show(b, func(p *printer) {
				if b.State == rpc.Completed {
					p.line("what was being done with restore point %s is ended, and it is what it was", b.BackupID)
					return
				}
				p.line("backup %s is %s", b.BackupID, b.State)
			})
		}),
	}
	of.add(cmd)
	return cmd
}

// keyOf is the name of the key that a backup is encrypted with; nothing if it is not.
func keyOf(b rpc.Backup) string {
	for _, d := range b.Disks {
		if d.EncryptionKey != "" {
			return d.EncryptionKey
		}
	}
	return ""
}

func printBackup(p *printer, b rpc.Backup) {
	verified, damage := verifiedPairs(b.Verified)
	b = withProgress(b)
	p.pairs("backup", b.BackupID, "vm", b.VMName, "context id", b.VMContextID, "type", string(b.BackupType), "why full", b.FullWhy,
		"parent", b.ParentBackupID, "written anew", rewrittenText(b.Rewritten), "under way", rewriteText(b.Rewrite),
		"repository", b.RepositoryID, "encryption key", keyOf(b), "policy", b.PolicyID, "request", b.RequestID, "tags", tagList(b.Tags),
		"state", string(b.State), "stalled", b.Stalled, "received", fmt.Sprintf("%s, the disks hold %s", humanSize(b.BytesTransferred), humanSize(b.TotalBytes)),
		"progress", progressOf(b), "rate limit", rateOf(b.RateLimit), "directory", b.Directory, "created", createdOf(b),
		"disks not looked up", b.RefreshError, "ended", humanTime(b.EndedAt), "took", tookOf(b), "verified", verified, "damaged", damage,
		"damage of", strings.Join(b.InheritedFrom, ", "), "cools down until", humanTime(b.CooldownUntil), "snapshot", snapshotOf(b),
		"client said", clientReportOf(b), "next", adviceOf(b))
	if f := b.Failure; f != nil {
		p.line("")
		p.pairs("failure", string(f.Reason)+": "+f.Message, "hint", inCommands(f.Hint), "unit", f.Unit)
		for _, line := range f.Journal {
			p.line("  %s", line)
		}
	}
	p.line("")
	printDisks(p, b.Disks)
}

// withProgress is a backup with what its disks have received until now: its record tells that when it has ended.
func withProgress(b rpc.Backup) rpc.Backup {
	if b.Progress == nil {
		return b
	}
	b.BytesTransferred = max(b.BytesTransferred, b.Progress.ReceivedBytes)
	b.Disks = slices.Clone(b.Disks)
	for i, d := range b.Disks {
		for _, now := range b.Progress.Disks {
			if now.DiskID == d.DiskID {
				b.Disks[i].ReceivedBytes = max(d.ReceivedBytes, now.ReceivedBytes)
			}
		}
	}
	return b
}

// createdOf tells when a backup was made, and whether that can be.
func createdOf(b rpc.Backup) string {
	if b.FutureDated {
		return humanTime(b.CreatedAt) + ": in the future, so a clock was wrong, or is; it counts for no retention rule and no age"
	}
	return humanTime(b.CreatedAt)
}

func printDisks(p *printer, list []rpc.BackupDisk) {
	var rows [][]string
	for _, d := range list {
		rows = append(rows, []string{
			strconv.Itoa(d.DiskID), strconv.Itoa(d.DiskKey), humanSize(d.CapacityBytes), humanSize(d.ReceivedBytes),
			d.Copied, yesNo(d.Complete), strconv.Itoa(int(d.NBDPort)), d.NBDExportName, d.Result, d.ChangeID,
		})
	}
	p.table([]column{
		{title: "disk"},
		{title: "key"},
		{title: "size"},
		{title: "received"},
		{title: "as", rank: 5},
		{title: "complete"},
		{title: "port", rank: 3},
		{title: "export", rank: 1},
		{title: "result", rank: 2},
		{title: "change id", rank: 4},
	}, rows)
	printCopies(p, list)
}

// printCopies says why each disk was copied as it was; of disks that were all copied for one reason, once.
func printCopies(p *printer, list []rpc.BackupDisk) {
	one := !slices.ContainsFunc(list, func(d rpc.BackupDisk) bool { return d.CopiedWhy != list[0].CopiedWhy })
	for i, d := range list {
		switch {
		case d.CopiedWhy == "" || one && i > 0:
			continue
		case i == 0 || one:
			p.line("")
		}
		which, how := "disk "+strconv.Itoa(d.DiskID), d.Copied+":"
		if one {
			which = "each disk"
		}
		if d.Copied == "changes" { // the reason begins with that word
			how = "as"
		}
		p.line("%s was copied %s %s", which, how, d.CopiedWhy)
	}
}

// tookOf is how long a backup that has ended took, and how fast it was.
func tookOf(b rpc.Backup) string {
	took := b.EndedAt.Sub(b.CreatedAt)
	if b.EndedAt.IsZero() || took <= 0 {
		return ""
	}
	text := humanDuration(took)
	if b.State == rpc.Completed {
		text += ", " + humanSize(uint64(float64(b.BytesTransferred)/took.Seconds())) + "/s"
	}
	return text
}

// adviceOf says what may be done next.
func adviceOf(b rpc.Backup) string {
	again := "to try again: " + startCommand(b.VMName, "--type "+string(b.BackupType)+" --repository "+shellWord(b.RepositoryID))
	switch {
	case b.State == rpc.Failed && time.Now().Before(b.CooldownUntil):
		return "cool-down until " + humanTime(b.CooldownUntil) + ", because the old client may still be running; then, " + again
	case b.State == rpc.Failed:
		return again
	case b.State == rpc.Unresolved:
		return "nobody knows whether the SNA has heard; it goes on when its client appears, and fails when none does"
	case !b.State.Ended():
		return "to follow it: sendensectl backup watch " + b.BackupID
	}
	return ""
}

// snapshotOf says what may be left on the VM.
func snapshotOf(b rpc.Backup) string {
	if !b.SnapshotMayRemain {
		return ""
	}
	return b.SnapshotName + " may be left on the VM: look in the vCenter once the client has ended"
}

// clientReportOf is what the client last reported to the SNA, while it has not connected.
func clientReportOf(b rpc.Backup) string {
	if b.Progress == nil {
		return ""
	}
	return b.Progress.ClientReport
}

// progressOf is the progress of a backup that is active; nothing for another.
func progressOf(b rpc.Backup) string {
	if b.Progress == nil {
		return ""
	}
	return progressText(*b.Progress)
}

func rateOf(limit int64) string {
	if limit == 0 {
		return ""
	}
	return humanSize(limit) + "/s for each disk"
}

func tagList(tags map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, name+"="+tags[name])
	}
	return strings.Join(list, ", ")
}
