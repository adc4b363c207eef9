package run

import (
	"testing"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/rpc"
)

// notOfStarts are the reasons for which no backup fails, and no start is refused.
var notOfStarts = map[rpc.Reason]bool{
	rpc.ReasonBackupNotFound: true, rpc.ReasonRestoreNotFound: true, rpc.ReasonGroupNotFound: true, rpc.ReasonScheduleNotFound: true, rpc.ReasonRunNotFound: true,
	rpc.ReasonWrongState: true, rpc.ReasonHasChildren: true, rpc.ReasonBeingRestored: true, rpc.ReasonBeingVerified: true, rpc.ReasonDamaged: true,
	rpc.ReasonReaderFailed: true, rpc.ReasonReaderMissing: true, rpc.ReasonParseError: true, rpc.ReasonMalformedMessage: true, rpc.ReasonMethodNotFound: true,
	rpc.ReasonMessageTooLarge: true, rpc.ReasonMessageTimeout: true, rpc.ReasonTooManyConnections: true, rpc.ReasonTooManyWatches: true, rpc.ReasonUnauthorized: true,
}

// TestVerdicts: for each reason of the API somebody has decided whether a further try can succeed.
func TestVerdicts(t *testing.T) {
	for _, reason := range rpc.Reasons() {
		_, decided := verdicts[fault.Reason(reason)]
		if decided == notOfStarts[reason] {
			t.Errorf("%s: in verdicts %v, in notOfStarts %v; want one of the two", reason, decided, notOfStarts[reason])
		}
	}
}
