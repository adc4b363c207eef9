package agent

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sendense/backup-agent/units"
)

// A life is what the goroutine that moves a backup or a restore along has in common with any other: others only write a
// fact into the record or cancel it, and wake it.
type life struct {
	group  *jobGroup
	log    *slog.Logger
	id     string          // of the backup or restore
	logKey string          // under which the id stands in the log
	ctx    context.Context // ends by a cancel or with the agent (errStopping)
	cancel context.CancelCauseFunc
	wake   chan struct{} // something changed: look again
	look   atomic.Bool   // the units may have changed
	done   chan struct{} // closed when it has ended

	stalled atomic.Pointer[string] // why it does not go on: a step of it fails and is tried again; nil when none does

	mu       sync.Mutex
	answered chan struct{} // closed once err holds the answer to the start
	err      error
}

func (l *life) start(g *jobGroup, log *slog.Logger, id, logKey string) {
	l.group, l.log, l.id, l.logKey = g, log, id, logKey
	l.wake, l.done, l.answered = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	l.ctx, l.cancel = context.WithCancelCause(g.work)
	l.look.Store(true)
}

// answer gives the caller of the start its answer. Only the first one counts.
func (l *life) answer(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.answered:
	default:
		l.err = err
		close(l.answered)
	}
}

// lookAtUnits wakes it and has it look at its units.
func (l *life) lookAtUnits() {
	l.look.Store(true)
	l.nudge()
}

// nudge wakes it.
func (l *life) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// unitEvent wakes the job when an event concerns one of its units, whose names begin with prefix, and reports whether it does. The
// start of a unit of its own wakes nobody.
func (l *life) unitEvent(e units.Event, prefix string) (owned bool) {
	if e.Kind != units.EventResync && !strings.HasPrefix(e.Name, prefix) {
		return false
	}
	if e.Kind != units.EventStarted {
		l.lookAtUnits()
	}
	return true
}

// sleep waits for a nudge, the time given or the end, whose cause it returns.
func (l *life) sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-l.wake:
		return nil
	case <-t.C:
		return nil
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
}

// untilDone repeats a step, ever more slowly, until it succeeds or the agent must end.
func (l *life) untilDone(what string, step func() error) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := step()
		if err == nil {
			l.stalled.Store(nil)
			return nil
		}
		l.stalled.Store(new(what + ": " + err.Error()))
		l.log.Error(what, l.logKey, l.id, logError, err)
		select {
		case <-time.After(wait):
		case <-l.group.hard.Done():
			return context.Cause(l.group.hard)
		}
	}
}

// Stalled says why an active backup does not go on at the moment, although nothing is lost: a step of it fails and is tried again, as
// while the database cannot be written; "" when none does.
func (a *Agent) Stalled(id string) string {
	if r := a.run(id); r != nil {
		if why := r.stalled.Load(); why != nil {
			return *why
		}
	}
	return ""
}

// untilRecorded repeats a change of the record until it is on the disk, or the agent must end: a database that cannot be
// written for a moment is no reason to lose a copy, or to leave one half undone. A change that is not allowed is not tried
// again.
func (l *life) untilRecorded(change func() error) error {
	var refused error
	err := l.untilDone("the record cannot be written", func() error {
		err := change()
		if notAllowed(err) {
			refused = err
			return nil
		}
		return err
	})
	if err != nil {
		return errStopping // the next agent goes on from what is on record
	}
	return refused
}
