package backup

import (
	"cmp"
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
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/rpc"
)

func showCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "show BACKUP", Short: "Show a backup and its disks",
		Long: "Show a backup and its disks.\n\n" + reference.Help,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.AnyBackups),
		RunE: a.AskAbout(command.ABackup, func(ctx context.Context, c *rpc.Client, args []string) error {
			b, err := c.GetBackup(ctx, args[0])
			if err != nil {
				return err
			}
			return a.Show(b, func(p *output.Printer) { printBackup(p, b) })
		}),
	}
}

// keyOf is the name of the key of an encrypted backup; "" if it is not encrypted.
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
	p.Pairs("backup", b.BackupID, "vm", b.VMName, "context id", b.VMContextID, "type", string(b.BackupType), "why full", b.FullWhy,
		"parent", b.ParentBackupID, "merged", mergedText(b.Merged), "merge", describe.Merge(b.Merge),
		"repository", b.RepositoryID, "encryption key", keyOf(b), "policy", b.PolicyID, "request", b.RequestID, "tags", tagList(b.Tags),
		"state", string(b.State), "waits for", b.WaitsFor, "stalled", b.Stalled, "received", fmt.Sprintf("%s, the disks hold %s", human.Size(describe.Received(b)), human.Size(b.TotalBytes)),
		"progress", progressOf(b), "rate limit", rateOf(b.RateLimit), "directory", b.Directory, "created", createdOf(b),
		"disks not looked up", b.RefreshError, "ended", human.Time(b.EndedAt), "took", tookOf(b), "verified", verified, "damaged", damage,
		"damage from", strings.Join(b.InheritedFrom, ", "), "cool-down until", human.Time(b.CooldownUntil), "snapshot", snapshotOf(b),
		"client reported", clientReportOf(b), "next", adviceOf(b))
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

// createdOf is the time of creation, with a note if it lies in the future.
func createdOf(b rpc.Backup) string {
	if b.FutureDated {
		return human.Time(b.CreatedAt) + ": in the future, so a clock was or is wrong; retention and age ignore this restore point"
	}
	return human.Time(b.CreatedAt)
}

func printDisks(p *output.Printer, list []rpc.BackupDisk) {
	var rows [][]string
	for _, d := range list {
		rows = append(rows, []string{
			strconv.Itoa(d.DiskID), strconv.Itoa(d.DiskKey), human.Size(d.CapacityBytes), human.Size(cmp.Or(d.CopiedBytes, int64(d.ReceivedBytes))),
			d.Copied, human.YesNo(d.Complete), strconv.Itoa(int(d.NBDPort)), d.NBDExportName, d.Result, d.ChangeID,
		})
	}
	p.Table([]output.Column{
		{Title: "disk"},
		{Title: "key"},
		{Title: "size"},
		{Title: "received"},
		{Title: "copied", Rank: 5},
		{Title: "complete"},
		{Title: "port", Rank: 3},
		{Title: "export", Rank: 1},
		{Title: "result", Rank: 2},
		{Title: "change id", Rank: 4},
	}, rows)
	printCopies(p, list)
}

// printCopies says why each disk was copied in this way. If the reason is the same for all disks, it says so once.
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
		if d.Copied == "changes" { // the reason begins with this word
			how = "as"
		}
		p.Line("%s was copied %s %s", which, how, d.CopiedWhy)
	}
	for _, d := range list {
		if d.WrittenBytes > 0 {
			p.Line("disk %d: %s received, %s kept, %s saved: the rest is the same in the parent", d.DiskID, human.Size(d.ReceivedBytes),
				human.Size(d.KeptBytes), human.Size(d.WrittenBytes-d.KeptBytes))
		}
	}
}

// tookOf is the duration and the rate of a backup that has ended.
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

// adviceOf is what to do next.
func adviceOf(b rpc.Backup) string {
	again := "to try again: " + hint.StartCommand(b.VMName, "--type "+string(b.BackupType)+" --repository "+hint.ShellWord(b.RepositoryID))
	switch {
	case b.State == rpc.Failed && time.Now().Before(b.CooldownUntil):
		return "cool-down until " + human.Time(b.CooldownUntil) + ": the old client may still be running. Then, " + again
	case b.State == rpc.Failed:
		return again
	case b.State == rpc.Unresolved:
		return "the SNA did not answer; it may or may not have started the backup. The backup continues when its client connects, and fails if none connects"
	case !b.State.Ended():
		return "to follow it: sendensectl backup watch " + b.BackupID
	}
	return ""
}

// snapshotOf names a snapshot that may remain on the VM.
func snapshotOf(b rpc.Backup) string {
	if !b.SnapshotMayRemain {
		return ""
	}
	return b.SnapshotName + " may be left on the VM: check in vCenter after the client has ended"
}

// clientReportOf is the last report of the client to the SNA, while it has not connected.
func clientReportOf(b rpc.Backup) string {
	if b.Progress == nil {
		return ""
	}
	return b.Progress.ClientReport
}

// progressOf is the progress of an active backup; "" for any other.
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

// mergedText describes the last merge into a restore point.
func mergedText(w *rpc.Merged) string {
	if w == nil {
		return ""
	}
	text := fmt.Sprintf("%s, with %s", human.Time(w.At), human.Count(w.Points, "other restore point"))
	if w.Synthetic {
		text += "; a synthetic full backup"
	}
	return text
}

// verifiedPairs is the result of the verification in full.
func verifiedPairs(v *rpc.Verification) (verified, damage string) {
	if v == nil {
		return "", ""
	}
	verified = human.Time(v.At)
	if !v.DeepAt.IsZero() {
		verified += ", deep " + human.Time(v.DeepAt)
	}
	if v.Undigested {
		verified += ", without digests"
	}
	var list []string
	for _, d := range v.Damage {
		list = append(list, d.File+" "+d.Problem)
	}
	return verified, strings.Join(list, "; ")
}
