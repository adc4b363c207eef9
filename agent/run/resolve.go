package run

import (
	"fmt"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/group"
	"github.com/sendense/backup-agent/agent/record"
)

// resolve finds out which VMs the groups of a run have, and puts them on record with it.
func (r *runner) resolve(run record.Run, schedule config.Schedule) error {
	s := r.service
	var groups []config.Group
	for _, id := range run.Groups {
		if g, configured := s.Config.Group(id); configured {
			groups = append(groups, g)
		}
	}
	warnings := s.discover(groups)
	all, err := s.Inventory.All()
	if err != nil {
		return err
	}
	list := group.Union(groups, all)
	order, err := s.order(list, schedule)
	if err != nil {
		return err
	}
	vms := make([]record.RunVM, len(order))
	for i, vm := range order {
		vms[i] = record.RunVM{VM: vm.Name, State: record.RunVMWaiting, Place: i}
	}
	return s.Store.ResolveRun(run.ID, vms, warnings)
}

// discover looks for VMs in the vCenters of groups, if that was last done too long ago. It returns the errors as text: a vCenter that cannot
// be asked does not stop the backups of the VMs on record.
func (s *Service) discover(groups []config.Group) (warnings []string) {
	for _, name := range vCenters(s.Config, groups) {
		if err := s.Inventory.SyncIfOlder(s.Jobs.Work, name, s.Config.Discovery.Interval.Std()); err != nil {
			warnings = append(warnings, fmt.Sprintf("vCenter %s could not be asked for its VMs, so the VMs on record are backed up: %v", name, err))
		}
	}
	return warnings
}

// vCenters are the names of the vCenters that groups can have VMs of, sorted: all, if one of the groups names none.
func vCenters(cfg *config.Config, groups []config.Group) (names []string) {
	for name, vc := range cfg.VCenters {
		wanted := slices.ContainsFunc(groups, func(g config.Group) bool { return len(g.VCenters) == 0 || slices.Contains(g.VCenters, name) })
		if wanted && vc.Datacenter != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// order returns VMs in the order in which a run starts them. list is sorted by name.
func (s *Service) order(list []record.VM, schedule config.Schedule) ([]record.VM, error) {
	if schedule.Order == config.ByName {
		return list, nil
	}
	names, repositories := make([]string, len(list)), make([]string, len(s.Config.Repositories))
	for i, vm := range list {
		names[i] = vm.Name
	}
	for i, r := range s.Config.Repositories {
		repositories[i] = r.ID
	}
	latest, err := s.Store.LatestOf(names, repositories, time.Now())
	if err != nil {
		return nil, err
	}
	ended := map[string]time.Time{}
	for i, l := range latest {
		ended[names[i]] = l.Good.EndedAt // zero if it has none: it is first
	}
	return slices.SortedStableFunc(slices.Values(list), func(a, b record.VM) int {
		return ended[a.Name].Compare(ended[b.Name])
	}), nil
}
