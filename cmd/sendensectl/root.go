package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/internal/manual"
	"github.com/sendense/backup-agent/rpc"
)

// app is what the commands share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	socket         string
	output         string // one of outputs
	colour         string // one of colourWords
	version        string // of sendensectl

	reconnectEvery time.Duration // between two attempts to reach an agent that went away
	reconnectFor   time.Duration // an agent that is being restarted or upgraded: backups go on without it
	tellEvery      time.Duration // how often progress is told where lines stay

	ran bool // a command was found and its arguments were right: what goes wrong now is no error of usage
}

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

func newApp(version string, stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{
		stdin: stdin, stdout: stdout, stderr: stderr, version: version,
		reconnectEvery: time.Second, reconnectFor: 5 * time.Minute, tellEvery: 10 * time.Second,
	}
}

// The values of --output.
const (
	outputTable = "table"
	outputWide  = "wide"
	outputJSON  = "json"
)

var outputs = []string{outputTable, outputWide, outputJSON}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "sendensectl COMMAND",
		Short: "Ask the sendense-agent for backups of VMs",
		Long:  rootHelp,
		Example: `  sendensectl vm discover main --store
  sendensectl backup start pgtest1 --type auto --wait
  sendensectl backup list --since 24h --state failed
  sendensectl report --html backups.html`,
		Version:       a.version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          needVerb,
		PersistentPreRunE: func(c *cobra.Command, args []string) error {
			return errors.Join(checkText(c, args), checkWord("output", a.output, outputs), checkWord("color", a.colour, colourWords))
		},
	}
	root.SetVersionTemplate("sendensectl {{.Version}}\n")
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.PersistentFlags().StringVar(&a.socket, "socket", rpc.DefaultSocket, "`PATH` of the agent's socket")
	root.PersistentFlags().StringVarP(&a.output, "output", "o", outputTable, "`FORMAT`: table, wide for every column of it, or json, the agent's answer as it is")
	root.PersistentFlags().StringVar(&a.colour, "color", "auto", "`WHEN` to colour: auto, always or never")
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.CompletionOptions.DisableDefaultCmd = true
	register(root, "socket", fileNames("sock"))
	completeWords(root, "output", outputs)
	completeWords(root, "color", colourWords)
	root.AddCommand(a.vmCommand(), a.backupCommand(), a.repositoryCommand(), a.exportCommand(), a.restoreCommand(), a.statusCommand(), a.doctorCommand(), a.reportCommand(),
		a.completionCommand(), a.logLevelCommand(), a.versionCommand())
	root.AddCommand(a.manCommand())
	return root
}

// execute runs one command line and returns the exit code.
func (a *app) execute(ctx context.Context, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.ran {
		err = &exitError{code: exitUsage, err: err}
	}
	return report(a.stderr, err)
}

// manCommand writes the manual pages, for whoever makes packages.
func (a *app) manCommand() *cobra.Command {
	book := manual.Book{Section: 1, Version: a.version, SeeAlso: "sendense-agent(8) sendense-agent.toml(5)"}
	c := book.Command(func() map[string]string { return nil })
	c.RunE = a.local(c.RunE)
	return c
}

// noun makes the command that holds the verbs of one noun.
func noun(name, short string, verbs ...*cobra.Command) *cobra.Command {
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

// ask makes the body of a command that asks the agent.
func (a *app) ask(f func(ctx context.Context, c *rpc.Client, args []string) error) func(*cobra.Command, []string) error {
	return a.local(func(cmd *cobra.Command, args []string) error {
		c, err := rpc.Dial(cmd.Context(), a.socket)
		if err != nil {
			return err
		}
		defer c.Close()
		return f(cmd.Context(), c, args)
	})
}

// local makes the body of a command that asks nobody.
func (a *app) local(f func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		a.ran = true
		return f(c, args)
	}
}

func (a *app) printer() *printer { return newPrinter(a.stdout, a.output == outputWide, a.colour) }

// show prints a value: as JSON, or by the function for people.
func (a *app) show(v any, human func(p *printer)) error {
	if a.output == outputJSON {
		return printJSON(a.stdout, v)
	}
	p := a.printer()
	human(p)
	_, err := io.WriteString(a.stdout, p.text())
	if p.note != "" { // to the standard error, so that what is listed stays what was asked for
		fmt.Fprintln(a.stderr, p.note)
	}
	return err
}
