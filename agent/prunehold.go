package agent

import (
	"fmt"

	"github.com/sendense/backup-agent/agent/store"
)

// holdPrune leaves a prune to a person, because it would remove so much at once that a mistake would cost most of a VM's restore
// points: a clock that is wrong now, or a policy that is not what was meant. It stays on record, so that whoever looks after a
// restart is told, too.
func (a *Agent) holdPrune(h HeldPrune) error {
	a.metrics.pruneHolds.Inc()
	a.log.Warn("a prune is held: it would remove more at once than prune.hold_above_percent", logVM, h.VMName, logRepository, h.Repository,
		"removed", h.Removed, "points", h.Points, "percent", a.config.Prune.HoldAbovePercent,
		logHint, fmt.Sprintf("look at 'sendensectl backup prune %[1]q --dry-run'; if that is right, run 'sendensectl backup prune %[1]q --repository %[2]s --yes'", h.VMName, h.Repository))
	err := a.store.HoldPrune(store.Hold{
		PointGroup: store.PointGroup{Repository: h.Repository, VM: h.VMName}, Removed: h.Removed, Points: h.Points, Since: h.Since,
	})
	if err == nil {
		a.watchers.tell(Event{Kind: EventPruneHeld, Held: &h})
	}
	return err
}

// HeldPrunes are the scheduled prunes that wait for a person. Where nothing is pruned by schedule any more, nothing waits.
func (a *Agent) HeldPrunes() ([]HeldPrune, error) {
	if _, _, scheduled := a.config.Prune.Daily(); !scheduled {
		return nil, nil
	}
	all, err := a.store.HeldPrunes()
	if err != nil {
		return nil, AsError(err)
	}
	var list []HeldPrune
	for _, h := range all {
		if _, err := a.findRepository(h.Repository); err == nil {
			list = append(list, HeldPrune{h.VM, h.Repository, h.Removed, h.Points, h.Since})
		}
	}
	return list, nil
}
