package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
)

// shells are those that completion is written for, and how.
var shells = map[string]func(root *cobra.Command, w io.Writer) error{
	"bash": func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
	"zsh":  func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) },
	"fish": func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
}

func completionCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Print what makes a shell complete commands, VMs and backups",
		Long: `Print a script that makes a shell complete commands and flags, and, while the agent runs, names of VMs, ids of backups and
repositories. The packages install these scripts; this is for a shell of your own.`,
		Example: `  source <(sendensectl completion bash)
  sendensectl completion zsh >"${fpath[1]}/_sendensectl"
  sendensectl completion fish >~/.config/fish/completions/sendensectl.fish`,
		Args: cobra.MatchAll(command.OneArg, cobra.OnlyValidArgs), ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: a.Local(func(c *cobra.Command, args []string) error { return shells[args[0]](c.Root(), a.Stdout) }),
	}
}
