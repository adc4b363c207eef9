// Package exit has the exit codes, and prints an error: what failed, what to do, and the journal of the unit.
package exit

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
	"github.com/sendense/backup-agent/rpc"
)

// The exit codes. The help of sendensectl lists them.
const (
	OK          = 0
	Failed      = 1
	Usage       = 2
	Unreachable = 3
	Damaged     = 4
	Despite     = 5
)

// ErrInterrupted is the error if the user stopped a restore, and the restore has ended.
var ErrInterrupted = errors.New("interrupted")

// An Error has its own exit code.
type Error struct {
	Code  int
	Err   error
	Lines []string // printed below the error
	Hint  string   // what to do
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Report prints an error and returns the exit code. First the message, then what to do, then the journal of the unit.
func Report(w io.Writer, err error) int {
	if err == nil {
		return OK
	}
	var own *Error
	var lost *rpc.UnreachableError
	var refused *rpc.Error
	fmt.Fprintf(w, "sendensectl: %s\n", human.Wrap(human.Safe(err.Error()), terminal.ProseWidth(w), 13))
	switch {
	case errors.As(err, &own):
		for _, line := range own.Lines {
			fmt.Fprintf(w, "  %s\n", human.Wrap(human.Safe(line), terminal.ProseWidth(w), 4))
		}
		reportData(w, rpc.ErrorData{Hint: own.Hint})
		return own.Code
	case errors.As(err, &lost):
		fmt.Fprintf(w, "  %s\n", human.Wrap(lost.Hint(), terminal.ProseWidth(w), 2))
		return Unreachable
	case errors.As(err, &refused):
		reportData(w, refused.Data)
		if refused.Data.Reason == rpc.ReasonDamaged {
			return Damaged
		}
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "  the agent continues the request")
	}
	return Failed
}

func reportData(w io.Writer, d rpc.ErrorData) {
	if d.Hint != "" {
		fmt.Fprintf(w, "  %s\n", human.Wrap(hint.InCommands(human.Safe(d.Hint)), terminal.ProseWidth(w), 2))
	}
	if d.RestoreID != "" {
		fmt.Fprintf(w, "  more: sendensectl restore show %s\n", human.Safe(d.RestoreID))
	} else if d.BackupID != "" {
		fmt.Fprintf(w, "  more: sendensectl backup show %s\n", human.Safe(d.BackupID))
	}
	reportJournal(w, d.Unit, d.Journal)
}

func reportJournal(w io.Writer, unit string, journal []string) {
	if len(journal) == 0 {
		return
	}
	fmt.Fprintf(w, "  journal of %s:\n", human.Safe(unit))
	for _, line := range journal {
		fmt.Fprintf(w, "    %s\n", human.Safe(line))
	}
}
