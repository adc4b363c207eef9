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

func Doctor(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Have the agent look at what backups need, and say what is wrong", Args: command.NoArgs,
		Long: "doctor has the running agent look at what backups need, and say what is wrong. It exits with 1 when something\n" +
			"keeps backups from working. 'sendense-agent doctor' looks at more, and needs no running agent.",
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			report, err := c.Doctor(ctx)
			if err != nil {
				return err
			}
			if err := a.Show(report, func(p *output.Printer) { printDoctor(p, report) }); err != nil {
				return err
			}
			if report.Errors > 0 {
				return errors.New("something keeps backups from working: it is named above")
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
