package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Have the agent look at what backups need, and say what is wrong", Args: noArgs,
		Long: "doctor has the running agent look at what backups need, and say what is wrong. It exits with 1 when something\n" +
			"keeps backups from working. 'sendense-agent doctor' looks at more, and needs no running agent.",
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			report, err := c.Doctor(ctx)
			if err != nil {
				return err
			}
			if err := a.show(report, func(p *printer) { printDoctor(p, report) }); err != nil {
				return err
			}
			if report.Errors > 0 {
				return errors.New("something keeps backups from working: it is named above")
			}
			return nil
		}),
	}
}

func printDoctor(p *printer, r rpc.DoctorReport) {
	for _, f := range r.Findings {
		subject := f.Check
		if f.Object != "" {
			subject += " " + f.Object
		}
		p.labelled(fmt.Sprintf("%-7s", f.Status), "%s: %s", subject, f.Message)
		if f.Hint != "" {
			p.line("    → %s", inCommands(f.Hint))
		}
	}
}

func (a *app) logLevelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "log-level [debug|info|warn|error]", Short: "Show or set what the agent logs", Args: maybeOne,
		Long: "log-level shows the least level that the agent logs, or sets it, until it is set again or the agent is restarted\n" +
			"or reloads its configuration.",
		ValidArgs: []string{"debug", "info", "warn", "error"},
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			level := ""
			if len(args) > 0 {
				level = args[0]
			}
			set, err := c.LogLevel(ctx, level)
			if err != nil {
				return err
			}
			return a.show(set, func(p *printer) { p.line("%s", set.Level) })
		}),
	}
}
