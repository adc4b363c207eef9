package agent

import (
	"slices"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/group"
	"github.com/sendense/backup-agent/agent/record"
)

// GroupStatus is a group as the records say now.
type GroupStatus struct {
	Config    config.Group
	Schedules []string       // ids of the schedules that back it up
	Members   []group.Member // by name
	Backups   []VMBackups    // of the members, in their order
}

// GroupList returns all groups, in the order of the configuration, and the VMs that are in none.
func (a *Agent) GroupList() (list []GroupStatus, ungrouped []record.VM, err error) {
	all, err := a.Inventory.All()
	if err != nil {
		return nil, nil, err
	}
	for _, g := range a.config.Groups {
		s, err := a.groupStatus(g, all)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, s)
	}
	return list, group.Ungrouped(a.config.Groups, all), nil
}

// GroupStatus returns one group. It fails with reason GroupNotFound.
func (a *Agent) GroupStatus(id string) (GroupStatus, error) {
	g, known := a.config.Group(id)
	if !known {
		e := fault.New(fault.GroupNotFound, "group %q is not configured", id)
		if len(a.config.Groups) == 0 {
			return GroupStatus{}, e.WithHint("the configuration has no [[group]]")
		}
		return GroupStatus{}, e.WithHint("group.list shows the groups")
	}
	all, err := a.Inventory.All()
	if err != nil {
		return GroupStatus{}, err
	}
	return a.groupStatus(g, all)
}

func (a *Agent) groupStatus(g config.Group, all []record.VM) (GroupStatus, error) {
	s := GroupStatus{Config: g, Members: group.Members(g, all)}
	for _, c := range a.config.Schedules {
		if slices.Contains(c.Groups, g.ID) {
			s.Schedules = append(s.Schedules, c.ID)
		}
	}
	vms := make([]record.VM, len(s.Members))
	for i, m := range s.Members {
		vms[i] = m.VM
	}
	var err error
	s.Backups, err = a.BackupsOf(vms)
	return s, err
}
