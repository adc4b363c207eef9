package backup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

func showCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "show BACKUP", Short: "Show a backup and its disks", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.AnyBackups),
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			b, err := c.GetBackup(ctx, args[0])
			if err != nil {
				return err
			}
			return a.Show(b, func(p *output.Printer) { printBackup(p, b) })
		}),
	}
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

func printBackup(p *output.Printer, b rpc.Backup) {
	verified, damage := verifiedPairs(b.Verified)
	b = withProgress(b)
	p.Pairs("backup", b.BackupID, "vm", b.VMName, "context id", b.VMContextID, "type", string(b.BackupType), "why full", b.FullWhy,
		"parent", b.ParentBackupID, "written anew", rewrittenText(b.Rewritten), "under way", describe.Merge(b.Rewrite),
		"repository", b.RepositoryID, "encryption key", keyOf(b), "policy", b.PolicyID, "request", b.RequestID, "tags", tagList(b.Tags),
		"state", string(b.State), "stalled", b.Stalled, "received", fmt.Sprintf("%s, the disks hold %s", human.Size(b.BytesTransferred), human.Size(b.TotalBytes)),
		"progress", progressOf(b), "rate limit", rateOf(b.RateLimit), "directory", b.Directory, "created", createdOf(b),
		"disks not looked up", b.RefreshError, "ended", human.Time(b.EndedAt), "took", tookOf(b), "verified", verified, "damaged", damage,
		"damage of", strings.Join(b.InheritedFrom, ", "), "cools down until", human.Time(b.CooldownUntil), "snapshot", snapshotOf(b),
		"client said", clientReportOf(b), "next", adviceOf(b))
	if f := b.Failure; f != nil {
		p.Line("")
		p.Pairs("failure", string(f.Reason)+": "+f.Message, "hint", hint.InCommands(f.Hint), "unit", f.Unit)
		for _, line := range f.Journal {
			p.Line("  %s", line)
		}
	}
	p.Line("")
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
		return human.Time(b.CreatedAt) + ": in the future, so a clock was wrong, or is; it counts for no retention rule and no age"
	}
	return human.Time(b.CreatedAt)
}

func printDisks(p *output.Printer, list []rpc.BackupDisk) {
	var rows [][]string
	for _, d := range list {
		rows = append(rows, []string{
			strconv.Itoa(d.DiskID), strconv.Itoa(d.DiskKey), human.Size(d.CapacityBytes), human.Size(d.ReceivedBytes),
			d.Copied, human.YesNo(d.Complete), strconv.Itoa(int(d.NBDPort)), d.NBDExportName, d.Result, d.ChangeID,
		})
	}
	p.Table([]output.Column{
		{Title: "disk"},
		{Title: "key"},
		{Title: "size"},
		{Title: "received"},
		{Title: "as", Rank: 5},
		{Title: "complete"},
		{Title: "port", Rank: 3},
		{Title: "export", Rank: 1},
		{Title: "result", Rank: 2},
		{Title: "change id", Rank: 4},
	}, rows)
	printCopies(p, list)
}

// printCopies says why each disk was copied as it was; of disks that were all copied for one reason, once.
func printCopies(p *output.Printer, list []rpc.BackupDisk) {
	one := !slices.ContainsFunc(list, func(d rpc.BackupDisk) bool { return d.CopiedWhy != list[0].CopiedWhy })
	for i, d := range list {
		switch {
		case d.CopiedWhy == "" || one && i > 0:
			continue
		case i == 0 || one:
			p.Line("")
		}
		which, how := "disk "+strconv.Itoa(d.DiskID), d.Copied+":"
		if one {
			which = "each disk"
		}
		if d.Copied == "changes" { // the reason begins with that word
			how = "as"
		}
		p.Line("%s was copied %s %s", which, how, d.CopiedWhy)
	}
}

// tookOf is how long a backup that has ended took, and how fast it was.
func tookOf(b rpc.Backup) string {
	took := b.EndedAt.Sub(b.CreatedAt)
	if b.EndedAt.IsZero() || took <= 0 {
		return ""
	}
	text := human.Duration(took)
	if b.State == rpc.Completed {
		text += ", " + human.Size(uint64(float64(b.BytesTransferred)/took.Seconds())) + "/s"
	}
	return text
}

// adviceOf says what may be done next.
func adviceOf(b rpc.Backup) string {
	again := "to try again: " + hint.StartCommand(b.VMName, "--type "+string(b.BackupType)+" --repository "+hint.ShellWord(b.RepositoryID))
	switch {
	case b.State == rpc.Failed && time.Now().Before(b.CooldownUntil):
		return "cool-down until " + human.Time(b.CooldownUntil) + ", because the old client may still be running; then, " + again
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
	return describe.Progress(*b.Progress)
}

func rateOf(limit int64) string {
	if limit == 0 {
		return ""
	}
	return human.Size(limit) + "/s for each disk"
}

func tagList(tags map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, name+"="+tags[name])
	}
	return strings.Join(list, ", ")
}

// rewrittenText says that a restore point was written anew.
func rewrittenText(w *rpc.Rewritten) string {
	if w == nil {
		return ""
	}
	text := fmt.Sprintf("%s, with %s merged into it", human.Time(w.At), human.Count(w.Merged, "other restore point"))
	if w.Synthetic {
		text += ": a synthetic full backup"
	}
	return text
}

// verifiedPairs tells the whole of it.
func verifiedPairs(v *rpc.Verification) (verified, damage string) {
	if v == nil {
		return "", ""
	}
	verified = human.Time(v.At)
	if !v.DeepAt.IsZero() {
		verified += ", read whole " + human.Time(v.DeepAt)
	}
	if v.Undigested {
		verified += ", no digests to compare with"
	}
	var list []string
	for _, d := range v.Damage {
		list = append(list, d.File+" "+d.Problem)
	}
	return verified, strings.Join(list, "; ")
}
