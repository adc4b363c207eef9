package ledger

import (
	"context"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/probe"
)

// CheckWritable returns an error if the end of a backup could not be put on record now. Then no backup may start, although its first
// transactions might still find free pages in the database: the client's work would be lost if the space does not come back.
func (l *Ledger) CheckWritable(ctx context.Context) error {
	if err := l.Writable(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil { // the agent stops: a queued backup waits for the next agent
			return cause
		}
		return fault.New(fault.Internal, "no backup can start, because the database cannot be written: %w", err)
	}
	return nil
}

// Writable returns why no transaction can be written now; nil if it can. It writes one transaction every few seconds at most, however
// often it is called.
func (l *Ledger) Writable(ctx context.Context) error {
	_, err := probe.Do(ctx, &l.Probes, "state directory "+l.Store.Directory(), func(context.Context) (struct{}, error) {
		return struct{}{}, l.Store.Writable()
	})
	return err
}
