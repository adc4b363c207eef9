package main

import (
	"bytes"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
)

// shells are the shells with completion, and how each script is generated.
var shells = map[string]func(root *cobra.Command, w io.Writer) error{
	"bash": bashScript,
	"zsh":  func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) },
	"fish": func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
}

// bashScript is cobra's script, with @ as a part of words: bash would complete pgtest1, @ and latest each for itself.
func bashScript(root *cobra.Command, w io.Writer) error {
	var b bytes.Buffer
	if err := root.GenBashCompletionV2(&b, true); err != nil {
		return err
	}
	const colon = `__sendensectl_handle_special_char "$cur" :`
	script := strings.ReplaceAll(b.String(), "init_completion -n =:", "init_completion -n =:@")
	_, err := io.WriteString(w, strings.ReplaceAll(script, colon, colon+"\n    "+strings.TrimSuffix(colon, ":")+"@"))
	return err
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
