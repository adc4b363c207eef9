package prune

import (
	"fmt"

	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// holdPrune leaves a prune to a person, because it would remove so much at once that a mistake would cost most of a VM's restore
// points: a clock that is wrong now, or a policy that is not what was meant. It stays on record, so that whoever looks after a
// restart is told, too.
func (s *Service) holdPrune(h record.HeldPrune) error {
	s.Metrics.PruneHolds.Inc()
	s.Log.Warn("a prune is held: it would remove more at once than prune.hold_above_percent", logkey.VM, h.VMName, logkey.Repository, h.Repository,
		"removed", h.Removed, "points", h.Points, "percent", s.Config.Prune.HoldAbovePercent,
		logkey.Hint, fmt.Sprintf("check with 'sendensectl backup prune %[1]q --dry-run'; if it is right, run 'sendensectl backup prune %[1]q --repository %[2]s --yes'", h.VMName, h.Repository))
	err := s.Store.HoldPrune(store.Hold{
		PointGroup: store.PointGroup{Repository: h.Repository, VM: h.VMName}, Removed: h.Removed, Points: h.Points, Since: h.Since,
	})
	if err == nil {
		s.Watchers.Tell(events.Event{Kind: events.PruneHeld, Held: &h})
	}
	return err
}

// HeldPrunes are the scheduled prunes that wait for a person. Where nothing is pruned by schedule any more, nothing waits.
func (s *Service) HeldPrunes() ([]record.HeldPrune, error) {
	if _, _, scheduled := s.Config.Prune.Daily(); !scheduled {
		return nil, nil
	}
	all, err := s.Store.HeldPrunes()
	if err != nil {
		return nil, fault.From(err)
	}
	var list []record.HeldPrune
	for _, h := range all {
		if _, err := s.Repositories.Find(h.Repository); err == nil {
			list = append(list, record.HeldPrune{VMName: h.VM, Repository: h.Repository, Removed: h.Removed, Points: h.Points, Since: h.Since})
		}
	}
	return list, nil
}
