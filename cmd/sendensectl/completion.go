package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
)

// shells are the shells with completion, and how each script is generated.
var shells = map[string]func(root *cobra.Command, w io.Writer) error{
	"bash": func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
	"zsh":  func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) },
	"fish": func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
}

func completionCommand(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Print the completion script for a shell",
		Long: `Print a completion script for a shell. It completes commands and flags. While the agent runs, it also completes VM names,
backup ids and repository ids. The packages install these scripts; use this command for your own setup.`,
		Example: `  source <(sendensectl completion bash)
  sendensectl completion zsh >"${fpath[1]}/_sendensectl"
  sendensectl completion fish >~/.config/fish/completions/sendensectl.fish`,
		Args: cobra.MatchAll(command.OneArg, cobra.OnlyValidArgs), ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: a.Local(func(c *cobra.Command, args []string) error { return shells[args[0]](c.Root(), a.Stdout) }),
	}
}
