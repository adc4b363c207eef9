package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/rpc"
)

const (
	defaultInterval  = 2 * time.Second
	shortestInterval = 100 * time.Millisecond
)

// A Question asks the agent, once or repeatedly. It returns the answer, and a function that prints it for people.
type Question func(ctx context.Context, c *rpc.Client, args []string) (answer any, show func(p *output.Printer), err error)

const pollHelp = `

With --watch, the command asks again until it is interrupted. A terminal is redrawn. Elsewhere, changes are appended; with
-o json, each change is one line.`

// Poll makes c a command that asks a question, and repeats it with --watch.
func (a *App) Poll(c *cobra.Command, q Question) *cobra.Command {
	watch, interval := false, defaultInterval
	if c.Long == "" {
		c.Long = c.Short + "."
	}
	c.Long += pollHelp
	c.Flags().BoolVarP(&watch, "watch", "w", false, "repeat until interrupted")
	c.Flags().DurationVar(&interval, "interval", interval, "`TIME` between two updates of --watch, such as 500ms or 10s")
	c.PreRunE = func(*cobra.Command, []string) error {
		if interval < shortestInterval {
			return fmt.Errorf("--interval %s: want %s or more", interval, shortestInterval)
		}
		return nil
	}
	c.RunE = a.Ask(func(ctx context.Context, client *rpc.Client, args []string) error {
		if watch {
			r := &repeater{app: a, question: q, args: args, interval: interval, what: c.CommandPath()}
			return r.run(ctx, client)
		}
		answer, show, err := q(ctx, client, args)
		if err != nil {
			return err
		}
		return a.Show(answer, show)
	})
	return c
}

// A repeater asks a question at an interval.
type repeater struct {
	app      *App
	question Question
	args     []string
	interval time.Duration
	what     string

	last   string // what was shown
	height int    // lines of it on a terminal
}

// run asks until ctx ends: the user interrupts it. If the agent stops answering, it waits for it to come back.
func (r *repeater) run(ctx context.Context, c *rpc.Client) error {
	tick := time.NewTicker(r.interval)
	defer tick.Stop()
	if r.app.Output != JSON && terminal.CanDraw(r.app.Stdout) {
		defer terminal.HideTyping(r.app.Stdout)()
	}
	for {
		answer, show, err := r.question(ctx, c, r.args)
		switch {
		case ctx.Err() != nil:
			return r.leave()
		case err != nil && WentAway(err):
			fmt.Fprintf(r.app.Stderr, "the agent does not answer; trying again for %s\n", r.app.ReconnectFor)
			if c, err = r.app.Reconnect(ctx); err != nil {
				return endOf(ctx, err)
			}
			defer c.Close()
			r.height = 0
			continue
		case err != nil:
			return err
		}
		if err := r.show(answer, show); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return r.leave()
		}
	}
}

// leave clears the ^C that the terminal echoes.
func (r *repeater) leave() error {
	if r.height == 0 {
		return nil
	}
	_, err := io.WriteString(r.app.Stdout, "\r\x1b[K")
	return err
}

// endOf is nil if the error is caused by the end of ctx.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (r *repeater) show(answer any, show func(p *output.Printer)) error {
	if r.app.Output == JSON {
		line, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		return r.append(string(line)+"\n", "")
	}
	p := r.app.Printer()
	show(p)
	frame := p.Text()
	if p.Note != "" {
		frame += p.Note + "\n"
	}
	now := time.Now()
	if terminal.CanDraw(r.app.Stdout) {
		return r.paint(fmt.Sprintf("%s, every %s: %s\n\n%s", r.what, r.interval, now.Format(time.TimeOnly), frame))
	}
	return r.append(frame, human.Time(now)+"\n")
}

// append writes a frame that differs from the last one.
func (r *repeater) append(frame, head string) error {
	if frame == r.last {
		return nil
	}
	if r.last != "" && head != "" {
		head = "\n" + head
	}
	r.last = frame
	_, err := io.WriteString(r.app.Stdout, head+frame)
	return err
}

// paint redraws the frame in place. No line wraps and the screen never scrolls: the cursor could not return to the start.
func (r *repeater) paint(frame string) error {
	columns, rows := terminal.Size(r.app.Stdout)
	lines := strings.Split(strings.TrimSuffix(frame, "\n"), "\n")
	if most := max(rows-2, 1); len(lines) > most {
		lines = append(lines[:most:most], fmt.Sprintf("… and %d more lines", len(lines)-most))
	}
	var b strings.Builder
	if r.height > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", r.height)
	}
	for _, line := range lines {
		b.WriteString(text.Trim(line, columns) + "\x1b[0m\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	r.height = len(lines)
	_, err := io.WriteString(r.app.Stdout, b.String())
	return err
}
