package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sendense/backup-agent/rpc"
)

// The exit codes, as the help lists them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitDamaged     = 4
	exitDespite     = 5
)

// errInterrupted is the error when the user stopped a restore, and that has ended.
var errInterrupted = errors.New("interrupted")

// An exitError ends the program with an exit code of its own.
type exitError struct {
	code  int
	err   error
	lines []string // below the error
	hint  string   // what to do
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

// report tells what went wrong and returns the exit code: the message, then what to do, then the unit's journal.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	var own *exitError
	var lost *rpc.UnreachableError
	var refused *rpc.Error
	fmt.Fprintf(w, "sendensectl: %s\n", wrap(safe(err.Error()), proseWidth(w), 13))
	switch {
	case errors.As(err, &own):
		for _, line := range own.lines {
			fmt.Fprintf(w, "  %s\n", wrap(safe(line), proseWidth(w), 4))
		}
		reportData(w, rpc.ErrorData{Hint: own.hint})
		return own.code
	case errors.As(err, &lost):
		fmt.Fprintf(w, "  %s\n", wrap(lost.Hint(), proseWidth(w), 2))
		return exitUnreachable
	case errors.As(err, &refused):
		reportData(w, refused.Data)
		if refused.Data.Reason == rpc.ReasonDamaged {
			return exitDamaged
		}
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "  what the agent was asked for goes on")
	}
	return exitFailed
}

func reportData(w io.Writer, d rpc.ErrorData) {
	if d.Hint != "" {
		fmt.Fprintf(w, "  %s\n", wrap(inCommands(safe(d.Hint)), proseWidth(w), 2))
	}
	if d.RestoreID != "" {
		fmt.Fprintf(w, "  more: sendensectl restore show %s\n", safe(d.RestoreID))
	} else if d.BackupID != "" {
		fmt.Fprintf(w, "  more: sendensectl backup show %s\n", safe(d.BackupID))
	}
	reportJournal(w, d.Unit, d.Journal)
}

func reportJournal(w io.Writer, unit string, journal []string) {
	if len(journal) == 0 {
		return
	}
	fmt.Fprintf(w, "  journal of %s:\n", safe(unit))
	for _, line := range journal {
		fmt.Fprintf(w, "    %s\n", safe(line))
	}
}
