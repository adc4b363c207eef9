package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/rpc"
)

const rootHelp = `sendensectl asks the sendense-agent on this machine for backups of VMs, and for what it knows.

A table is made to fit the terminal: columns are left out that matter least. See all of them with -o wide. What goes to no
terminal is whole.

Exit codes:
  0  done; of what waits for a backup, the backup is completed
  1  the agent refused or failed; of what waits, the backup is not completed, or the waiting was interrupted
  2  the command line is wrong
  3  the agent cannot be reached
  4  damage: a verification has found it, or a restore was refused because of it
  5  what was asked for is restored or served, and it is damaged (--despite-damage)

Environment:
  COLUMNS   width of tables, in place of the terminal's
  NO_COLOR  no colours, unless --color always is given
  TERM      where it is dumb, no colours, and lines instead of bars

Files:
  /run/sendense-agent/agent.sock  where the agent listens`

// A Noun makes a command with its verbs, or one that is a command by itself.
type Noun func(*App) *cobra.Command

// NewRoot makes the whole command line of these nouns.
func NewRoot(a *App, nouns ...Noun) *cobra.Command {
	root := &cobra.Command{
		Use:   "sendensectl COMMAND",
		Short: "Ask the sendense-agent for backups of VMs",
		Long:  rootHelp,
		Example: `  sendensectl vm discover main --store
  sendensectl backup start pgtest1 --type auto --wait
  sendensectl backup list --since 24h --state failed
  sendensectl report --html backups.html`,
		Version:       a.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          needVerb,
		PersistentPreRunE: func(c *cobra.Command, args []string) error {
			return errors.Join(checkText(c, args), CheckWord("output", a.Output, outputs), CheckWord("color", a.Color, terminal.ColorWords))
		},
	}
	root.SetVersionTemplate("sendensectl {{.Version}}\n")
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.PersistentFlags().StringVar(&a.Socket, "socket", rpc.DefaultSocket, "`PATH` of the agent's socket")
	root.PersistentFlags().StringVarP(&a.Output, "output", "o", Table, "`FORMAT`: table, wide for every column of it, or json, the agent's answer as it is")
	root.PersistentFlags().StringVar(&a.Color, "color", "auto", "`WHEN` to colour: auto, always or never")
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.CompletionOptions.DisableDefaultCmd = true
	CompleteWith(root, "socket", FileNames("sock"))
	CompleteWords(root, "output", outputs)
	CompleteWords(root, "color", terminal.ColorWords)
	for _, noun := range nouns {
		root.AddCommand(noun(a))
	}
	return root
}

// WithVerbs makes the command that holds the verbs of one noun.
func WithVerbs(name, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: name + " COMMAND", Short: short, Args: cobra.ArbitraryArgs, RunE: needVerb}
	c.AddCommand(verbs...)
	return c
}

// needVerb is what a command without a verb does. Cobra by itself would print the help and succeed, and a script with
// a misspelled verb would not notice.
func needVerb(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("a command is missing, see %s --help", c.CommandPath())
	}
	err := fmt.Sprintf("there is no command %q, see %s --help", args[0], c.CommandPath())
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Sprintf("there is no command %q, did you mean %s?", args[0], near[0])
	}
	return errors.New(err)
}
