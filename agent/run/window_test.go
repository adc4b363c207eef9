package run

import (
	"testing"

	"github.com/sendense/backup-agent/agent/record"
)

// TestShortageCounts: VMs that had no turn, no further try, or were canceled at the end of the window. Other ends say nothing about it.
func TestShortageCounts(t *testing.T) {
	var s Shortage
	s.add([]record.RunVM{{State: record.RunVMCompleted}, {State: record.RunVMCanceled, Why: whyCanceled}, {State: record.RunVMSkipped, Why: whyGone}})
	s.add([]record.RunVM{
		{State: record.RunVMCompleted}, {State: record.RunVMSkipped, Why: whyWindow}, {State: record.RunVMCanceled, Why: whyAtWork}, missedVM(t),
	})
	if want := (Shortage{Runs: 2, Short: 1, VMs: 4, Late: 3}); s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
}

// missedVM is a VM that failed, and was not tried again before the end of the window.
func missedVM(t *testing.T) record.RunVM {
	t.Helper()
	v := record.RunVM{State: record.RunVMWaiting, Tries: []record.Try{{Reason: "client_gone"}}}
	end := missed(v)
	v.State, v.Why = end.State, end.Why
	if v.State != record.RunVMFailed {
		t.Fatalf("%+v", v)
	}
	return v
}
