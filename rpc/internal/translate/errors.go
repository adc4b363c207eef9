// Package translate turns the agent's values into values of the wire and back. It decides nothing.
package translate

import (
	"errors"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/rpc"
)

// Error is the one place where an error becomes an error on the wire; nil for nil. An error that is neither of the wire nor
// the agent's becomes an internal one.
func Error(err error) *rpc.Error {
	var known *rpc.Error
	if errors.As(err, &known) {
		return known
	}
	e := fault.From(err)
	if e == nil {
		return nil
	}
	wire := rpc.NewError(rpc.Reason(e.Reason), e.Message)
	wire.Data.Hint = e.Hint
	wire.Data.BackupID = e.BackupID
	wire.Data.RestoreID = e.RestoreID
	wire.Data.DiskID = e.DiskID
	wire.Data.Unit = e.Unit
	wire.Data.Journal = e.Journal
	if wire.Data.Reason == rpc.ReasonInternal && wire.Data.Hint == "" {
		wire.Data.Hint = "this is a fault in the agent: see journalctl -u sendense-agent"
	}
	return wire
}

// failure is the failure in a record, on the wire; nil for nil.
func failure(f *record.Failure) *rpc.Failure {
	if f == nil {
		return nil
	}
	return &rpc.Failure{Reason: rpc.Reason(f.Reason), Message: f.Message, Hint: f.Hint, DiskID: f.DiskID, Unit: f.Unit, Journal: f.Journal}
}
