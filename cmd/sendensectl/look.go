package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

const (
	defaultInterval  = 2 * time.Second
	shortestInterval = 100 * time.Millisecond
)

// A question is asked of the agent, once or again and again. It returns the answer, and what shows it to people.
type question func(ctx context.Context, c *rpc.Client, args []string) (answer any, human func(p *printer), err error)

const watchHelp = `

With --watch it is asked again and again, until interrupted: a terminal is painted over, and elsewhere what has changed is
appended, with -o json as one line.`

// look makes c a command that asks a question.
func (a *app) look(c *cobra.Command, q question) *cobra.Command {
	watch, interval := false, defaultInterval
	if c.Long == "" {
		c.Long = c.Short + "."
	}
	c.Long += watchHelp
	c.Flags().BoolVarP(&watch, "watch", "w", false, "ask again and again")
	c.Flags().DurationVar(&interval, "interval", interval, "`TIME` between two questions of --watch, e.g. 500ms or 10s")
	c.PreRunE = func(*cobra.Command, []string) error {
		if interval < shortestInterval {
			return fmt.Errorf("--interval %s: want %s or more", interval, shortestInterval)
		}
		return nil
	}
	c.RunE = a.ask(func(ctx context.Context, client *rpc.Client, args []string) error {
		if watch {
			r := &repeater{app: a, question: q, args: args, interval: interval, what: c.CommandPath()}
			return r.run(ctx, client)
		}
		answer, human, err := q(ctx, client, args)
		if err != nil {
			return err
		}
		return a.show(answer, human)
	})
	return c
}

// A repeater asks again and again.
type repeater struct {
	app      *app
	question question
	args     []string
	interval time.Duration
	what     string

	last   string // what was shown
	height int    // lines of it on a terminal
}

// run asks until ctx ends, which is how somebody stops it. When the agent goes away it waits for it to come back.
func (r *repeater) run(ctx context.Context, c *rpc.Client) error {
	tick := time.NewTicker(r.interval)
	defer tick.Stop()
	if r.app.output != outputJSON && canDraw(r.app.stdout) {
		defer hush(r.app.stdout)()
	}
	for {
		answer, human, err := r.question(ctx, c, r.args)
		switch {
		case ctx.Err() != nil:
			return r.leave()
		case err != nil && wentAway(err):
			fmt.Fprintf(r.app.stderr, "the agent went away. Trying to reach it for %s\n", r.app.reconnectFor)
			if c, err = r.app.reconnect(ctx); err != nil {
				return endOf(ctx, err)
			}
			defer c.Close()
			r.height = 0
			continue
		case err != nil:
			return err
		}
		if err := r.show(answer, human); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return r.leave()
		}
	}
}

// leave wipes out the ^C that the terminal echoes.
func (r *repeater) leave() error {
	if r.height == 0 {
		return nil
	}
	_, err := io.WriteString(r.app.stdout, "\r\x1b[K")
	return err
}

// endOf is nil for an error that comes of the end of ctx.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (r *repeater) show(answer any, human func(p *printer)) error {
	if r.app.output == outputJSON {
		line, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		return r.append(string(line)+"\n", "")
	}
	p := r.app.printer()
	human(p)
	frame := p.text()
	if p.note != "" {
		frame += p.note + "\n"
	}
	now := time.Now()
	if canDraw(r.app.stdout) {
		return r.paint(fmt.Sprintf("%s, every %s: %s\n\n%s", r.what, r.interval, now.Format(time.TimeOnly), frame))
	}
	return r.append(frame, humanTime(now)+"\n")
}

// append writes what has changed.
func (r *repeater) append(frame, head string) error {
	if frame == r.last {
		return nil
	}
	if r.last != "" && head != "" {
		head = "\n" + head
	}
	r.last = frame
	_, err := io.WriteString(r.app.stdout, head+frame)
	return err
}

// paint writes over what was shown. No line is wrapped and the screen never scrolls, or the cursor would not find back.
func (r *repeater) paint(frame string) error {
	columns, rows := size(r.app.stdout)
	lines := strings.Split(strings.TrimSuffix(frame, "\n"), "\n")
	if most := max(rows-2, 1); len(lines) > most {
		lines = append(lines[:most:most], fmt.Sprintf("… and %d lines more", len(lines)-most))
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
	_, err := io.WriteString(r.app.stdout, b.String())
	return err
}
