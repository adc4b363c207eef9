// Command sendensectl controls a sendense-agent: it starts backups and restores, and shows what the agent knows.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/backup"
	"github.com/sendense/backup-agent/cmd/sendensectl/daemon"
	"github.com/sendense/backup-agent/cmd/sendensectl/export"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/report"
	"github.com/sendense/backup-agent/cmd/sendensectl/repository"
	"github.com/sendense/backup-agent/cmd/sendensectl/restore"
	"github.com/sendense/backup-agent/cmd/sendensectl/schedule"
	"github.com/sendense/backup-agent/cmd/sendensectl/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs one command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return command.New(buildVersion(), stdin, stdout, stderr).Run(ctx, args, nouns...)
}

// nouns are the commands. Those with verbs have their own folders.
var nouns = []command.Noun{
	vm.Command, backup.Command, schedule.Group, schedule.Command, schedule.Run, repository.Command, export.Command, restore.Command, daemon.Status, daemon.Doctor, report.Command,
	completionCommand, daemon.LogLevel, versionCommand, manCommand,
}

// version is set by the linker (-X main.version=).
var version string

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func versionCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version of sendensectl (for the agent's version: status)", Args: command.NoArgs,
		RunE: a.Local(func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
			}{a.Version}
			return a.Show(v, func(p *output.Printer) { p.Line("sendensectl %s", v.Version) })
		}),
	}
}
