// Package command is what all commands share: the program with its global flags, the connection to the agent, checks of
// arguments, completion, polling (--watch) and confirmation. It contains no command.
package command

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// App is what the commands share.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Socket         string
	Output         string // one of outputs
	Color          string // one of terminal.ColorWords
	Version        string // of sendensectl

	ReconnectEvery time.Duration // between two attempts to reach an agent that does not answer
	ReconnectFor   time.Duration // long enough for a restart or an upgrade of the agent; backups continue meanwhile
	ProgressEvery  time.Duration // between two progress lines, where there are no bars

	ran bool // the command line was valid: a later error is not a usage error
}

// New makes a program that reads and writes there, with default intervals.
func New(version string, stdin io.Reader, stdout, stderr io.Writer) *App {
	return &App{
		Stdin: stdin, Stdout: stdout, Stderr: stderr, Version: version,
		ReconnectEvery: time.Second, ReconnectFor: 5 * time.Minute, ProgressEvery: 10 * time.Second,
	}
}

// The values of --output.
const (
	Table = "table"
	Wide  = "wide"
	JSON  = "json"
)

var outputs = []string{Table, Wide, JSON}

// Run runs one command line and returns the exit code.
func (a *App) Run(ctx context.Context, args []string, nouns ...Noun) int {
	root := NewRoot(a, nouns...)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.ran {
		err = &exit.Error{Code: exit.Usage, Err: err}
	}
	return exit.Report(a.Stderr, err)
}

// Ask makes the body of a command that needs the agent.
func (a *App) Ask(f func(ctx context.Context, c *rpc.Client, args []string) error) func(*cobra.Command, []string) error {
	return a.Local(func(cmd *cobra.Command, args []string) error {
		c, err := rpc.Dial(cmd.Context(), a.Socket)
		if err != nil {
			return err
		}
		defer c.Close()
		return f(cmd.Context(), c, args)
	})
}

// Local makes the body of a command that needs no agent.
func (a *App) Local(f func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		a.ran = true
		return f(c, args)
	}
}

// Printer makes a printer for the standard output.
func (a *App) Printer() *output.Printer { return output.New(a.Stdout, a.Output == Wide, a.Color) }

// Show prints a value: as JSON, or with show for people.
func (a *App) Show(v any, show func(p *output.Printer)) error {
	if a.Output == JSON {
		return output.JSON(a.Stdout, v)
	}
	p := a.Printer()
	show(p)
	_, err := io.WriteString(a.Stdout, p.Text())
	if p.Note != "" { // to the standard error, so that the standard output holds only the list
		fmt.Fprintln(a.Stderr, p.Note)
	}
	return err
}
