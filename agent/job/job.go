// Package job owns the agent's goroutines. A Job is the one goroutine that moves a record along. Others only write a fact into the record
// or cancel the job, and wake it, so there is one outcome in every race. A Group owns all goroutines; a Set holds the jobs of one kind.
// The package does not know what a job does.
package job

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/units"
)

// A Job is what the goroutines of backups and restores have in common. Call Start before anything else.
type Job struct {
	group  *Group
	log    *slog.Logger
	ID     string          // of the record
	kind   Kind            // of the record
	Ctx    context.Context // ends by a cancel, or when the agent stops (ErrStopping)
	Cancel context.CancelCauseFunc
	wake   chan struct{} // something changed: check again
	Look   atomic.Bool   // the units may have changed
	Done   chan struct{} // closed when the job has ended

	Stalled atomic.Pointer[string] // the error of a step that fails and is retried; nil if none fails

	mu       sync.Mutex
	Answered chan struct{} // closed when Err holds the answer to the start
	Err      error
}

// Start prepares the job of a record. It starts no goroutine.
func (l *Job) Start(g *Group, log *slog.Logger, id string, kind Kind) {
	l.group, l.log, l.ID, l.kind = g, log, id, kind
	l.wake, l.Done, l.Answered = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	l.Ctx, l.Cancel = context.WithCancelCause(g.Work)
	l.Look.Store(true)
}

// String names the record in messages, such as "backup vm-1".
func (l *Job) String() string { return l.kind.noun + " " + l.ID }

// Kind returns what the record is.
func (l *Job) Kind() Kind { return l.kind }

// Of adds the id of the record to an error.
func (l *Job) Of(e *fault.Error) *fault.Error { return l.kind.of(e, l.ID) }

// LogID returns the attribute that names the record in the log.
func (l *Job) LogID() slog.Attr { return slog.String(l.kind.logKey, l.ID) }

// Answer gives the caller of the start its answer. Only the first answer counts.
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

// Await waits for the answer to the start. It returns that, or the error of ctx if ctx ends first.
func (l *Job) Await(ctx context.Context) error {
	select {
	case <-l.Answered:
		return l.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CauseOr returns why the job was canceled, or else err.
func (l *Job) CauseOr(err error) error {
	if l.Ctx.Err() != nil {
		return context.Cause(l.Ctx)
	}
	return err
}

// End cancels the job and waits until it has ended. It returns the error of ctx if ctx ends first.
func (l *Job) End(ctx context.Context, cause error) error {
	l.Cancel(cause)
	select {
	case <-l.Done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// recheckUnits wakes the job and makes it check its units.
func (l *Job) recheckUnits() {
	l.Look.Store(true)
	l.Nudge()
}

// Nudge wakes the job. It never blocks.
func (l *Job) Nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// UnitEvent wakes the job if an event concerns one of its units, whose names begin with prefix, and reports whether it does. Start events
// do not wake it.
func (l *Job) UnitEvent(e units.Event, prefix string) (owned bool) {
	if e.Kind != units.EventResync && !strings.HasPrefix(e.Name, prefix) {
		return false
	}
	if e.Kind != units.EventStarted {
		l.recheckUnits()
	}
	return true
}

// Sleep waits for a nudge or for d, and returns nil. If the job's context ends first, it returns the cause.
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

// UntilDone repeats a step until it succeeds. It waits 100 ms after the first failure, then longer, up to 10 s. It gives up with the
// cause of Group.Hard when the agent must end. what is the error in the log.
func (l *Job) UntilDone(what string, step func() error) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := step()
		if err == nil {
			l.Stalled.Store(nil)
			return nil
		}
		l.Stalled.Store(new(what + ": " + err.Error()))
		l.log.Error(what, l.LogID(), logkey.Error, err)
		select {
		case <-time.After(wait):
		case <-l.group.Hard.Done():
			return context.Cause(l.group.Hard)
		}
	}
}

// UntilRecorded repeats a change of the record until it is on the disk. A database that cannot be written for a moment must not lose a
// copy or leave one half undone. A change that is not allowed is not repeated; its error is returned. If the agent must end first, the
// error is ErrStopping.
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
		return ErrStopping // the next agent continues from the record
	}
	return refused
}
