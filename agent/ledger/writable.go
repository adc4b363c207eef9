package ledger

import (
	"context"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/probe"
)

// CheckWritable refuses to begin a backup of which the end could not be put on record: it would be the client's work for nothing while
// the room does not come back, although the first transactions of it may still find pages in the file.
func (l *Ledger) CheckWritable(ctx context.Context) error {
	if err := l.Writable(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil { // the agent stops: a queued backup waits for the next one
			return cause
		}
		return fault.New(fault.Internal, "no backup can start, because the database cannot be written: %w", err)
	}
	return nil
}

// Writable says why no transaction can be written now. However often it is asked, one is written every few seconds at most.
func (l *Ledger) Writable(ctx context.Context) error {
	_, err := probe.Do(ctx, &l.Probes, "state directory "+l.Store.Directory(), func(context.Context) (struct{}, error) {
		return struct{}{}, l.Store.Writable()
	})
	return err
}
