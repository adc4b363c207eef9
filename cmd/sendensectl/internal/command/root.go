package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/rpc"
)

const rootHelp = `sendensectl controls the sendense-agent on this machine: it starts backups and restores of VMs, and shows their state.

On a terminal, a table is made to fit: the least important columns are left out. To see all columns, use -o wide. In a file or
a pipe, all columns are printed.

Exit codes:
  0  success; for commands that wait for a backup: the backup is completed
  1  the agent refused or failed; for commands that wait: the backup is not completed, or the wait was interrupted
  2  the command line is wrong
  3  the agent cannot be reached
  4  damage: a verification found damage, or a restore was refused because of damage
  5  the restore was done in spite of damage (--despite-damage)

Environment:
  COLUMNS   width of tables, instead of the terminal's width
  NO_COLOR  if set, no colors (--color always overrides it)
  TERM      if "dumb", no colors, and lines instead of progress bars

Files:
  /run/sendense-agent/agent.sock  where the agent listens`

// A Noun makes a top-level command, with its verbs if it has any.
type Noun func(*App) *cobra.Command

// NewRoot makes the command line with these top-level commands.
func NewRoot(a *App, nouns ...Noun) *cobra.Command {
	root := &cobra.Command{
		Use:   "sendensectl COMMAND",
		Short: "Control the sendense-agent: backups and restores of VMs",
		Long:  rootHelp,
		Example: `  sendensectl vm discover main --store
  sendensectl backup start pgtest1 --wait
  sendensectl backup list --since 24h --state failed
  sendensectl report --html backups.html`,
		Version:       a.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          helpOrVerb,
		PersistentPreRunE: func(c *cobra.Command, args []string) error {
			return errors.Join(checkText(c, args), CheckWord("output", a.Output, outputs), CheckWord("color", a.Color, terminal.ColorWords))
		},
	}
	root.SetVersionTemplate("sendensectl {{.Version}}\n")
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.PersistentFlags().StringVar(&a.Socket, "socket", rpc.DefaultSocket, "`PATH` of the socket of the agent")
	root.PersistentFlags().StringVarP(&a.Output, "output", "o", Table, "output `FORMAT`: table, wide (a table with all columns) or json (the answer of the agent)")
	root.PersistentFlags().StringVar(&a.Color, "color", "auto", "`WHEN` to use colors: auto, always or never")
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

// WithVerbs makes a noun with its verbs.
func WithVerbs(name, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: name + " COMMAND", Short: short, Args: cobra.ArbitraryArgs, RunE: needVerb}
	c.AddCommand(verbs...)
	return c
}

// helpOrVerb shows the help if there is no word at all: a person who types only the name of the program wants to know what it can do.
func helpOrVerb(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	return needVerb(c, args)
}

// needVerb fails for a noun without a known verb. Cobra would print the help and succeed, so that a script with a
// misspelled verb would not notice.
func needVerb(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("a command is missing, see %s --help", c.CommandPath())
	}
	err := fmt.Sprintf("unknown command %q, see %s --help", args[0], c.CommandPath())
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Sprintf("unknown command %q, did you mean %s?", args[0], near[0])
	}
	return errors.New(err)
}
