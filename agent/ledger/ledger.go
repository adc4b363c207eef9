// Package ledger is the one place where the record of a backup or restore changes: a transaction, then the log line, the metric and the
// event. It decides nothing. The callers and package record decide which change is made, and whether it is allowed.
package ledger

import (
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// Parts are what a Ledger uses.
type Parts struct {
	Store    *store.Store
	Log      *slog.Logger
	Metrics  *metrics.Counters
	Watchers *events.Watchers
}

// A Ledger reads and changes records. Its methods may be called from any goroutine.
type Ledger struct {
	Parts
	Touched func(id string)    // called when the record of a backup may have changed; set it before the first change
	Probes  singleflight.Group // queries of the database that are in progress
}

// New returns a Ledger that only tells the watchers.
func New(p Parts) *Ledger { return &Ledger{Parts: p, Touched: func(string) {}} }

// Change changes the record of a backup. It is Update with the id in the error message.
func (l *Ledger) Change(id string, f func(*record.Backup) error) (record.Backup, error) {
	b, err := l.Update(id, f)
	if err != nil {
		return b, fmt.Errorf("backup %s: its record cannot be changed: %w", id, err)
	}
	return b, nil
}

// Update is the one place where the record of a backup, and with it its state, changes: a transaction, then the log line, the metric and
// the event. It returns the record after the change.
func (l *Ledger) Update(id string, f func(*record.Backup) error, options ...store.Option) (record.Backup, error) {
	start := time.Now()
	before, after, err := l.Store.Update(id, start, func(b *record.Backup) error {
		if err := f(b); err != nil {
			return err
		}
		failpoint.Reach("committing " + string(b.State))
		return nil
	}, options...)
	l.Touched(id) // after an error too: the change may be on the disk all the same
	if err != nil {
		return after, err
	}
	failpoint.Reach("committed " + string(after.State))
	l.Metrics.Transaction(start)
	l.logTransition(before, after)
	l.Metrics.Transition(before, after)
	l.Watchers.Tell(events.Event{Kind: events.State, Backup: after})
	return after, nil
}

// Advance brings a backup to a state. f changes more of the record in the same transaction; it may be nil.
func (l *Ledger) Advance(id string, to record.State, f func(*record.Backup)) (record.Backup, error) {
	return l.Change(id, func(b *record.Backup) error {
		if f != nil {
			f(b)
		}
		b.State = to
		return nil
	})
}

// Backup returns the record of a backup. It fails with reason BackupNotFound.
func (l *Ledger) Backup(id string) (record.Backup, error) {
	b, err := l.Store.Backup(id)
	return b, NotFound(err)
}

// ChangeRestore changes the record of a restore. It is UpdateRestore with the id in the error message.
func (l *Ledger) ChangeRestore(id string, f func(*record.Restore) error) (record.Restore, error) {
	r, err := l.UpdateRestore(id, f)
	if err != nil {
		return r, fmt.Errorf("restore %s: its record cannot be changed: %w", id, err)
	}
	return r, nil
}

// UpdateRestore is the one place where the record of a restore changes: a transaction, then the log line, the metric and the event.
func (l *Ledger) UpdateRestore(id string, f func(*record.Restore) error, options ...store.RestoreOption) (record.Restore, error) {
	before, after, err := l.Store.UpdateRestore(id, time.Now(), func(r *record.Restore) error {
		if err := f(r); err != nil {
			return err
		}
		failpoint.Reach("committing restore " + string(r.State))
		return nil
	}, options...)
	if err != nil {
		return after, err
	}
	failpoint.Reach("committed restore " + string(after.State))
	if before.State != after.State {
		l.logRestore(before, after)
		l.Metrics.RestoreTransition(before, after)
	}
	l.Watchers.Tell(events.Event{Kind: events.State, Restore: &after})
	return after, nil
}

// AdvanceRestore brings a restore to a state. f changes more of the record in the same transaction; it may be nil.
func (l *Ledger) AdvanceRestore(id string, to record.RestoreState, f func(*record.Restore)) (record.Restore, error) {
	return l.ChangeRestore(id, func(r *record.Restore) error {
		if f != nil {
			f(r)
		}
		r.State = to
		return nil
	})
}

// Restore returns the record of a restore. It fails with reason RestoreNotFound.
func (l *Ledger) Restore(id string) (record.Restore, error) {
	r, err := l.Store.Restore(id)
	return r, NotFound(err)
}

// Unchanged changes nothing. It is for updates that only carry options.
func Unchanged[T any](*T) error { return nil }
