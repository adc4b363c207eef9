// Package job owns the agent's goroutines. A Job is the one goroutine that moves a record along: others only write a fact into the
// record or cancel the job, and wake it, so there is one outcome, whatever races. A Group owns all goroutines; a Set holds the jobs of
// one kind. The package does not know what a job does.
package job

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/units"
)

// A life is what the goroutine that moves a backup or a restore along has in common with any other: others only write a
// fact into the record or cancel it, and wake it.
type Job struct {
	group  *Group
	log    *slog.Logger
	ID     string          // of the backup or restore
	logKey string          // under which the id stands in the log
	Ctx    context.Context // ends by a cancel or with the agent (errStopping)
	Cancel context.CancelCauseFunc
	wake   chan struct{} // something changed: look again
	Look   atomic.Bool   // the units may have changed
	Done   chan struct{} // closed when it has ended

	Stalled atomic.Pointer[string] // why it does not go on: a step of it fails and is tried again; nil when none does

	mu       sync.Mutex
	Answered chan struct{} // closed once err holds the answer to the start
	Err      error
}

func (l *Job) Start(g *Group, log *slog.Logger, id, logKey string) {
	l.group, l.log, l.ID, l.logKey = g, log, id, logKey
	l.wake, l.Done, l.Answered = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	l.Ctx, l.Cancel = context.WithCancelCause(g.Work)
	l.Look.Store(true)
}

// Answer gives the caller of the start its answer. Only the first one counts.
func (l *Job) Answer(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.Answered:
	default:
		l.Err = err
		close(l.Answered)
	}
}

// lookAtUnits wakes it and has it look at its units.
func (l *Job) lookAtUnits() {
	l.Look.Store(true)
	l.Nudge()
}

// Nudge wakes it.
func (l *Job) Nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// UnitEvent wakes the job when an event concerns one of its units, whose names begin with prefix, and reports whether it does. The
// start of a unit of its own wakes nobody.
func (l *Job) UnitEvent(e units.Event, prefix string) (owned bool) {
	if e.Kind != units.EventResync && !strings.HasPrefix(e.Name, prefix) {
		return false
	}
	if e.Kind != units.EventStarted {
		l.lookAtUnits()
	}
	return true
}

// Sleep waits for a nudge, the time given or the end, whose cause it returns.
func (l *Job) Sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-l.wake:
		return nil
	case <-t.C:
		return nil
	case <-l.Ctx.Done():
		return context.Cause(l.Ctx)
	}
}

// UntilDone repeats a step, ever more slowly, until it succeeds or the agent must end.
func (l *Job) UntilDone(what string, step func() error) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := step()
		if err == nil {
			l.Stalled.Store(nil)
			return nil
		}
		l.Stalled.Store(new(what + ": " + err.Error()))
		l.log.Error(what, l.logKey, l.ID, logkey.Error, err)
		select {
		case <-time.After(wait):
		case <-l.group.Hard.Done():
			return context.Cause(l.group.Hard)
		}
	}
}

// UntilRecorded repeats a change of the record until it is on the disk, or the agent must end: a database that cannot be
// written for a moment is no reason to lose a copy, or to leave one half undone. A change that is not allowed is not tried
// again.
func (l *Job) UntilRecorded(change func() error) error {
	var refused error
	err := l.UntilDone("the record cannot be written", func() error {
		err := change()
		if ledger.NotAllowed(err) {
			refused = err
			return nil
		}
		return err
	})
	if err != nil {
		return ErrStopping // the next agent goes on from what is on record
	}
	return refused
}
