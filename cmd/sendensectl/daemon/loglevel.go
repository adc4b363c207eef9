package daemon

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// LogLevel makes "log-level".
func LogLevel(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "log-level [debug|info|warn|error]", Short: "Show or set the log level of the agent", Args: command.MaybeOneArg,
		Long: "Show the log level of the agent, or set it. The agent logs messages of this level and above. The setting is lost when the\n" +
			"agent restarts or reloads its configuration.",
		ValidArgs: []string{"debug", "info", "warn", "error"},
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, args []string) error {
			level := ""
			if len(args) > 0 {
				level = args[0]
			}
			set, err := c.LogLevel(ctx, level)
			if err != nil {
				return err
			}
			return a.Show(set, func(p *output.Printer) { p.Line("%s", set.Level) })
		}),
	}
}
