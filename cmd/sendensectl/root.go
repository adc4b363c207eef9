package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

// app is what the commands share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	socket         string
	output         string
	ran            bool // a command was found and its arguments were right: what goes wrong now is no error of usage
}

const rootHelp = `sendensectl asks the sendense-agent on this machine for backups of VMs, and for what it knows.

Exit codes:
  0  done
  1  the agent refused or failed
  2  the command line is wrong
  3  the agent cannot be reached`

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "sendensectl",
		Short:         "Ask the sendense-agent for backups of VMs",
		Long:          rootHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          needVerb,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains(outputs, a.output) {
				return fmt.Errorf("--output %s: want table or json", a.output)
			}
			return nil
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.PersistentFlags().StringVar(&a.socket, "socket", rpc.DefaultSocket, "`PATH` of the agent's socket")
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "table", "table or json; json is the agent's answer as it is")
	root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp)) //nolint:errcheck // the flag exists
	root.AddCommand(a.vmCommand(), a.backupCommand(), a.repositoryCommand(), a.exportCommand(), a.statusCommand(), a.versionCommand())
	return root
}

var outputs = []string{"table", "json"}

// noun makes the command that holds the verbs of one noun.
func noun(name, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: name, Short: short, Args: cobra.ArbitraryArgs, RunE: needVerb}
	c.AddCommand(verbs...)
	return c
}

// needVerb is what a command without a verb does. Cobra by itself would print the help and succeed, and a script with
// a misspelled verb would not notice.
func needVerb(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s: a command is missing, see %s --help", c.CommandPath(), c.CommandPath())
	}
	err := fmt.Sprintf("%s: there is no command %q", c.CommandPath(), args[0])
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		err += fmt.Sprintf(", did you mean %s?", near[0])
	}
	return errors.New(err)
}

// ask makes the body of a command that asks the agent.
func (a *app) ask(f func(ctx context.Context, c *rpc.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.ran = true
		c, err := rpc.Dial(cmd.Context(), a.socket)
		if err != nil {
			return err
		}
		defer c.Close()
		return f(cmd.Context(), c, args)
	}
}

// show prints a value: as JSON, or by the function for people.
func (a *app) show(v any, human func(p *printer)) error {
	if a.output == "json" {
		return printJSON(a.stdout, v)
	}
	p := newPrinter(a.stdout)
	human(p)
	return p.flush()
}
