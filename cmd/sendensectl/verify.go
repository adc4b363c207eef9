package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) backupVerify() *cobra.Command {
	var r rpc.VerifyRequest
	var rate string
	c := &cobra.Command{
		Use: "verify BACKUP", Short: "Verify a restore point and all it stands on",
		Long: `Verify that a restore point, and all it stands on, is still what was written: that every manifest and image is there, of its
size, stands on what it should, and passes qemu-img check. With --deep every image is read whole and compared with the digest
that was recorded when the backup finished: a flipped bit is found, whatever it is of.

What is damaged is named, with what to do. It is on record from then on: no incremental is built upon it. When a file was put
back from a copy, verify it again, with --deep.

To interrupt it ends the waiting only: the agent goes on, and "backup show" tells what was found. "backup cancel" ends the
verification, for everybody who waits for it; until then the restore point cannot be deleted.

Exit codes, beside the others:
  0  every file is what was written
  1  it could not be found out of every file: some cannot be read, or an older agent recorded no digest
  4  files are damaged`,
		Example: `  sendensectl backup verify backup-pgtest1-1795422015
  sendensectl backup verify backup-pgtest1-1795422015 --deep --rate-limit 100MiB`,
		Args: oneArg, ValidArgsFunction: a.completeFirst(restorePoints),
		PreRunE: func(_ *cobra.Command, args []string) (err error) {
			r.BackupID = args[0]
			if rate != "" {
				if r.RateLimit, err = parseSize(rate); err != nil {
					return fmt.Errorf("--rate-limit: %w", err)
				}
			}
			return nil
		},
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			report, err := a.verify(ctx, c, r)
			if err != nil {
				return err
			}
			if err := a.show(report, func(p *printer) { printVerification(p, report) }); err != nil {
				return err
			}
			return verdict(report)
		}),
	}
	c.Flags().BoolVar(&r.Deep, "deep", false, "read every image whole and compare it with its digest")
	c.Flags().StringVar(&rate, "rate-limit", "", "read so much per second, a `SIZE` like 100MiB; as the agent is configured, if not given")
	return c
}

// verify waits for a verification, and shows how it comes along.
func (a *app) verify(ctx context.Context, c *rpc.Client, r rpc.VerifyRequest) (rpc.VerifyReport, error) {
	view := &verifyView{app: a}
	defer view.close()
	report, err := c.VerifyBackup(ctx, r, view.show)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("interrupted: the verification goes on; to stop it: sendensectl backup cancel --verify %s", r.BackupID)
	}
	return report, err
}

// A verifyView shows the progress of a verification that reads.
type verifyView struct {
	app   *app
	gauge gauge
	file  string
}

func (v *verifyView) show(p rpc.VerifyProgress) {
	if p.BytesTotal == 0 {
		return
	}
	if v.gauge == nil {
		v.gauge = v.app.newGauge("verify", p.BytesTotal)
	}
	if p.File != v.file {
		v.file = p.File
		v.gauge.say("reading " + p.File)
	}
	v.gauge.set(float64(p.BytesDone) / float64(p.BytesTotal))
}

func (v *verifyView) close() {
	if v.gauge != nil {
		v.gauge.close()
	}
}

func printVerification(p *printer, r rpc.VerifyReport) {
	how := "metadata"
	if r.Deep {
		how = humanSize(r.ReadBytes) + " read"
	}
	p.pairs("backup", r.BackupID, "result", string(r.Result), "files", fmt.Sprintf("%d, %s", len(r.Files), how),
		"took", humanDuration(r.EndedAt.Sub(r.StartedAt)))
	for _, f := range r.Files {
		if f.Status != rpc.FileOK {
			p.line("")
			p.pairs(string(f.Status), f.Path, "problem", f.Problem, "hint", inCommands(f.Hint))
		}
	}
	p.line("")
	var rows [][]string
	for _, f := range r.Files {
		disk, size := "", ""
		if f.DiskID != nil {
			disk, size = strconv.Itoa(*f.DiskID), humanSize(f.Bytes)
		}
		rows = append(rows, []string{f.BackupID, filepath.Base(f.Path), disk, size, string(f.Status)})
	}
	p.table([]column{{title: "backup"}, {title: "file"}, {title: "disk", rank: 3}, {title: "size", rank: 2}, {title: "status"}}, rows)
}

// A damageFound is the end of a verification that found damage, which was printed.
type damageFound struct{ files int }

func (e *damageFound) Error() string {
	return fmt.Sprintf("%s damaged: no incremental is built upon that any more", count(e.files, "file")+isAre(e.files))
}

func isAre(n int) string {
	if n == 1 {
		return " is"
	}
	return " are"
}

// verdict is what the exit code tells.
func verdict(r rpc.VerifyReport) error {
	counts := map[rpc.FileStatus]int{}
	for _, f := range r.Files {
		counts[f.Status]++
	}
	switch r.Result {
	case rpc.VerifyOK:
		return nil
	case rpc.VerifyDamaged:
		return &damageFound{counts[rpc.FileDamaged]}
	}
	return fmt.Errorf("no damage was found, but of %s it is not known: %d unreadable, %d without a digest, %d without a manifest",
		count(len(r.Files)-counts[rpc.FileOK], "file"), counts[rpc.FileUnreadable], counts[rpc.FileUndigested], counts[rpc.FileSkipped])
}

// verifiedText is what is known of a restore point's files, and of those that it stands on; nothing of what was not verified since its
// end.
func verifiedText(v *rpc.Verification, inherited []string) string {
	switch {
	case v != nil && len(v.Damage) > 0:
		return "damaged"
	case len(inherited) > 0:
		return "stands on damage"
	case v == nil:
		return ""
	case !v.DeepAt.IsZero() && !v.Undigested:
		return "deep " + shortTime(v.DeepAt)
	}
	return shortTime(v.At)
}

// verifiedPairs tells the whole of it.
func verifiedPairs(v *rpc.Verification) (verified, damage string) {
	if v == nil {
		return "", ""
	}
	verified = humanTime(v.At)
	if !v.DeepAt.IsZero() {
		verified += ", read whole " + humanTime(v.DeepAt)
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
