package run

import (
	"cmp"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// A step is what a run does next.
type step struct {
	start  []string              // VMs whose next try begins now
	end    map[string]record.End // VMs that are not tried any more
	cancel []string              // VMs whose backup in progress is canceled
	wake   time.Time             // when to look again at the latest; zero = when something changes
	done   bool                  // every VM has ended
}

// Words for what was not backed up.
const (
	whyWindow   = "the window of the schedule ended before its turn"
	whyNoRetry  = "the window of the schedule ended before its next try"
	whyAtWork   = "the window of the schedule ended" // while its backup was in progress
	whyCanceled = "the run was canceled"
	whyGone     = "the schedule is not configured any more"
)

// plan says what a run does next. It decides by the records and the time alone, so it continues after a restart as if nothing had been.
// queued are the VMs whose backup is in the queue when the window has ended: it has not begun yet, so it is ended.
func plan(run record.Run, vms []record.RunVM, queued map[string]bool, parallel int, now time.Time) (s step) {
	s.end = map[string]record.End{}
	over := run.Over(now)
	active := 0
	var waiting []record.RunVM
	for _, v := range vms {
		switch {
		case v.State == record.RunVMRunning:
			active++
			if run.Canceling || over && (run.CancelAfterWindow || queued[v.VM]) {
				s.cancel = append(s.cancel, v.VM)
			}
		case v.State != record.RunVMWaiting:
		case run.Canceling:
			s.end[v.VM] = record.End{State: record.RunVMCanceled, Why: whyCanceled}
		case over:
			s.end[v.VM] = missed(v)
		default:
			waiting = append(waiting, v)
		}
	}
	slices.SortStableFunc(waiting, turn)
	for _, v := range waiting {
		switch {
		case active+len(s.start) >= parallel:
		case v.NextTry.After(now):
			s.wake = earlier(s.wake, v.NextTry)
		default:
			s.start = append(s.start, v.VM)
		}
	}
	if len(waiting) > 0 || active > 0 {
		if !over {
			s.wake = earlier(s.wake, run.WindowEnd)
		}
	}
	s.done = active+len(waiting) == 0 // those in end have ended then
	return s
}

// missed is the end of a VM whose turn did not come within the window. One that was tried before has failed.
func missed(v record.RunVM) record.End {
	if _, failed := v.FirstError(); failed {
		return record.End{State: record.RunVMFailed, Why: whyNoRetry}
	}
	return record.End{State: record.RunVMSkipped, Why: whyWindow}
}

// turn orders the VMs that wait: first tries in the order of the run, and then further tries by their times.
func turn(a, b record.RunVM) int {
	return cmp.Or(cmp.Compare(min(a.Counted(), 1), min(b.Counted(), 1)), a.NextTry.Compare(b.NextTry), cmp.Compare(a.Place, b.Place))
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
