package backup

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/progress"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/rpc"
)

func verifyCommand(a *command.App) *cobra.Command {
	var r rpc.VerifyRequest
	var rate string
	c := &cobra.Command{
		Use: "verify BACKUP", Short: "Verify a restore point and its chain",
		Long: `Verify that a restore point and all its parents are unchanged: each manifest and image exists, has the right size and parent,
and passes qemu-img check. With --deep, every image is also read completely and compared with the digest that was recorded when
the backup finished. This finds every flipped bit.

The command lists the damaged files and what to do. Damage is put on record: no incremental will be based on it. If you put a
file back from a copy, verify again with --deep.

Interrupting the command stops the wait, not the verification; "backup show" shows the result. "backup cancel --verify" stops the
verification for all who wait for it. During the verification, the restore point cannot be deleted.

Exit codes of this command:

  0  all files are unchanged
  1  some files could not be verified: they cannot be read, or an older agent recorded no digest
  4  files are damaged

` + reference.Help,
		Example: `  sendensectl backup verify backup-pgtest1-1795422015
  sendensectl backup verify pgtest1@latest --deep --rate-limit 100MiB`,
		Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.RestorePoints),
		PreRunE: func(*cobra.Command, []string) (err error) {
			if rate != "" {
				if r.RateLimit, err = human.ParseSize(rate); err != nil {
					return fmt.Errorf("--rate-limit: %w", err)
				}
			}
			return nil
		},
		RunE: a.AskAbout(command.ABackup, func(ctx context.Context, c *rpc.Client, args []string) error {
			r.BackupID = args[0]
			report, err := verify(ctx, a, c, r)
			if err != nil {
				return err
			}
			if err := a.Show(report, func(p *output.Printer) { printVerification(p, report) }); err != nil {
				return err
			}
			return verdict(report)
		}),
	}
	c.Flags().BoolVar(&r.Deep, "deep", false, "read every image completely and compare it with its digest")
	c.Flags().StringVar(&rate, "rate-limit", "", "limit of the reads per second, a `SIZE` such as 100MiB (default: verify.rate_limit of the agent)")
	return c
}

// verify waits for a verification and shows its progress.
func verify(ctx context.Context, a *command.App, c *rpc.Client, r rpc.VerifyRequest) (rpc.VerifyReport, error) {
	view := progress.NewFileGauge(a.Stderr, a.ProgressEvery, "verify", func(file string) string { return "reading " + file })
	defer view.Close()
	report, err := c.VerifyBackup(ctx, r, func(p rpc.VerifyProgress) { view.Set(p.File, p.BytesDone, p.BytesTotal) })
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("interrupted; the verification continues. To stop it: sendensectl backup cancel --verify %s", r.BackupID)
	}
	return report, err
}

func printVerification(p *output.Printer, r rpc.VerifyReport) {
	how := "metadata"
	if r.Deep {
		how = human.Size(r.ReadBytes) + " read"
	}
	p.Pairs("backup", r.BackupID, "result", string(r.Result), "files", fmt.Sprintf("%d, %s", len(r.Files), how),
		"took", human.Duration(r.EndedAt.Sub(r.StartedAt)))
	for _, f := range r.Files {
		if f.Status != rpc.FileOK {
			p.Line("")
			p.Pairs(string(f.Status), f.Path, "problem", f.Problem, "hint", hint.InCommands(f.Hint))
		}
	}
	p.Line("")
	var rows [][]string
	for _, f := range r.Files {
		disk, size := "", ""
		if f.DiskID != nil {
			disk, size = strconv.Itoa(*f.DiskID), human.Size(f.Bytes)
		}
		rows = append(rows, []string{f.BackupID, filepath.Base(f.Path), disk, size, string(f.Status)})
	}
	p.Table([]output.Column{{Title: "backup"}, {Title: "file"}, {Title: "disk", Rank: 3}, {Title: "size", Rank: 2}, {Title: "status"}}, rows)
}

// verdict is the error that gives the exit code.
func verdict(r rpc.VerifyReport) error {
	counts := map[rpc.FileStatus]int{}
	for _, f := range r.Files {
		counts[f.Status]++
	}
	switch r.Result {
	case rpc.VerifyOK:
		return nil
	case rpc.VerifyDamaged:
		return &exit.Error{Code: exit.Damaged, Err: fmt.Errorf("%s damaged; no incremental will be based on this restore point", human.CountAre(counts[rpc.FileDamaged], "file"))}
	}
	return fmt.Errorf("no damage was found, but %s could not be verified: %d unreadable, %d without a digest, %d without a manifest",
		human.Count(len(r.Files)-counts[rpc.FileOK], "file"), counts[rpc.FileUnreadable], counts[rpc.FileUndigested], counts[rpc.FileSkipped])
}
