package run

import (
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// A Shortage says how often the window of a schedule was too short, in its last runs.
type Shortage struct {
	Runs  int // the last runs that had a window, at most lookBack; without those that a person asked for, canceled, or skipped
	Short int // those of them in which VMs had no turn before its end, or were canceled at its end
	VMs   int // all VMs of those
	Late  int // the VMs that had no turn or were canceled
}

// lookBack is how many runs are looked at.
const lookBack = 3

// Shortage looks at the last runs of a schedule.
func (s *Service) Shortage(schedule string) (sum Shortage, err error) {
	list, err := s.Store.Runs(store.RunQuery{Schedule: schedule})
	if err != nil {
		return sum, fault.From(err)
	}
	for _, run := range list {
		if run.WindowEnd.IsZero() || run.Manual || run.Canceling || run.State == record.RunRunning || run.State == record.RunSkipped {
			continue
		}
		_, vms, err := s.Store.Run(run.ID)
		if err != nil {
			return sum, fault.From(err)
		}
		sum.add(vms)
		if sum.Runs == lookBack {
			break
		}
	}
	return sum, nil
}

func (s *Shortage) add(vms []record.RunVM) {
	s.Runs++
	late := 0
	for _, v := range vms {
		if v.Why == whyWindow || v.Why == whyNoRetry || v.Why == whyAtWork {
			late++
		}
	}
	if late > 0 {
		s.Short++
		s.VMs += len(vms)
		s.Late += late
	}
}
