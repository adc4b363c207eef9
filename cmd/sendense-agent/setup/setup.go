// Package setup makes the first configuration of the packaged daemon, and changes it: the command "sendense-agent setup".
//
// [Run] works in three parts. It collects the answers from flags, the existing configuration and the terminal (answers.go). It checks
// all of them and computes what to write (plan.go, place.go), and nothing is written before every check has passed. Then it does the
// steps in order (steps.go): each file is replaced in one step, so that an interruption leaves the old content or the new one. A step
// that fails ends the run with a list of what is done and what is not; a second run continues.
//
// The package checks no backup and talks to no vCenter: the doctor and the daemon do, through [Options].
package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Options are the flags of the command, and what the rest of the program does for it.
type Options struct {
	ConfigPath string
	In         *os.File // asks here if it is a terminal
	Out        io.Writer
	Flags      Answers
	PasswordFD int // -1: none
	DryRun     bool
	Yes        bool // asks for no confirmation

	// Doctor checks the host, prints what it finds, and returns the number of errors.
	Doctor func(ctx context.Context, out io.Writer) (errors int, err error)
	// Discover puts the VMs of a vCenter on record through the daemon at the socket.
	Discover func(ctx context.Context, socket, vcenter string) (Discovery, error)
}

// Discovery is what was found in a vCenter.
type Discovery struct {
	Names     []string // of the VMs that are on record now
	NotStored []string // VMs that are not, each with the reason
}

// ErrNothingWritten is part of every error before the first step.
var ErrNothingWritten = errors.New("nothing was written")

// Run does the whole setup.
func Run(ctx context.Context, o Options) error {
	p, err := prepare(ctx, o)
	if err != nil {
		return fmt.Errorf("setup: %w\n%w", err, ErrNothingWritten)
	}
	p.show(o.Out)
	if o.DryRun {
		fmt.Fprintln(o.Out, "\n--dry-run: nothing was written.")
		return nil
	}
	if err := confirm(ctx, o, p); err != nil {
		return fmt.Errorf("setup: %w\n%w", err, ErrNothingWritten)
	}
	unlock, err := lock(o.ConfigPath)
	if err != nil {
		return fmt.Errorf("setup: %w\n%w", err, ErrNothingWritten)
	}
	defer unlock()
	found := Discovery{}
	if err := runSteps(ctx, o.Out, p.steps(o, &found)); err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	p.ready(o.Out, found)
	return nil
}

// prepare collects the answers, checks them, and computes what to write.
func prepare(ctx context.Context, o Options) (*plan, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("run it as root: it writes below /etc and restarts the daemon")
	}
	now, err := readConfiguration(o.ConfigPath)
	if err != nil {
		return nil, err
	}
	if err := checkService(ctx); err != nil {
		return nil, err
	}
	answers, err := collect(ctx, o, now)
	if err != nil {
		return nil, err
	}
	return newPlan(ctx, now, answers)
}

// confirm asks on a terminal whether to go on.
func confirm(ctx context.Context, o Options, p *plan) error {
	if o.Yes || !isTerminal(o.In) || !p.writes() {
		return nil
	}
	t, err := openTerminal(ctx, o.In, o.Out)
	if err != nil {
		return err
	}
	defer t.close()
	answer, err := t.ask("\nWrite this, and restart the agent? Running backups continue. [y/N]", "")
	if err != nil {
		return err
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return errors.New("not confirmed")
	}
	return nil
}
