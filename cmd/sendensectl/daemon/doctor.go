package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// Doctor makes "doctor".
func Doctor(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check what backups need, and report problems", Args: command.NoArgs,
		Long: "The running agent checks what backups need, and reports problems. The exit code is 1 if a problem prevents backups.\n" +
			"'sendense-agent doctor' checks more, and does not need a running agent.",
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			report, err := c.Doctor(ctx)
			if err != nil {
				return err
			}
			if err := a.Show(report, func(p *output.Printer) { printDoctor(p, report) }); err != nil {
				return err
			}
			if report.Errors > 0 {
				return errors.New("a problem prevents backups; it is listed above")
			}
			return nil
		}),
	}
}

func printDoctor(p *output.Printer, r rpc.DoctorReport) {
	for _, f := range r.Findings {
		subject := f.Check
		if f.Object != "" {
			subject += " " + f.Object
		}
		p.Labeled(fmt.Sprintf("%-7s", f.Status), "%s: %s", subject, f.Message)
		if f.Hint != "" {
			p.Line("    → %s", hint.InCommands(f.Hint))
		}
	}
}
