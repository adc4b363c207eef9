package snatest

import (
	"github.com/sendense/backup-agent/agent/sna/snatest/client"
	"github.com/sendense/backup-agent/agent/sna/snatest/fault"
	"github.com/sendense/backup-agent/agent/sna/snatest/vcenter"
)

// The values that a test gives to a simulator and reads from it, so that a test imports only this package.
type (
	VM   = vcenter.VM
	Disk = vcenter.Disk

	Faults     = fault.Faults
	Answer     = fault.Answer
	LostHandle = fault.LostHandle

	RunState      = client.RunState
	DiskState     = client.DiskState
	SnapshotState = vcenter.SnapshotState
)

// MaxRequestBytes is the largest request that SBC sends.
const MaxRequestBytes = client.MaxRequestBytes

// The answers that a start can get.
const (
	AnswerNormal    = fault.AnswerNormal
	AnswerRefuse    = fault.AnswerRefuse
	AnswerFail      = fault.AnswerFail
	AnswerHang      = fault.AnswerHang
	AnswerReset     = fault.AnswerReset
	AnswerGarbage   = fault.AnswerGarbage
	AnswerTruncated = fault.AnswerTruncated
	AnswerHuge      = fault.AnswerHuge
	AnswerWrongJob  = fault.AnswerWrongJob
)

// How long a handle stays open that an incremental copy has lost.
const (
	LostUntilCollected = fault.LostUntilCollected
	LostAtOnce         = fault.LostAtOnce
	LostUntilEnd       = fault.LostUntilEnd
)

// ParseFaults reads faults in their text form, "die=1", "delay=3s", ...
func ParseFaults(specs ...string) (Faults, error) { return fault.Parse(specs...) }

// FaultHelp lists every fault, one line each.
func FaultHelp() string { return fault.Help() }
