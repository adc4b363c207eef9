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

// Groups are the groups of the configuration, as the records say now.
type Groups struct{ agent *Agent }

// List returns all groups, in the order of the configuration, and the VMs that are in none.
func (gs Groups) List() (list []GroupStatus, ungrouped []record.VM, err error) {
	all, err := gs.agent.Inventory.All()
	if err != nil {
		return nil, nil, err
	}
	for _, g := range gs.agent.config.Groups {
		s, err := gs.status(g, all)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, s)
	}
	return list, group.Ungrouped(gs.agent.config.Groups, all), nil
}

// Of returns the ids of the groups that a VM belongs to, and whether somebody may have forgotten it: there are groups, and it is in none, not
// even as one that is excluded.
func (gs Groups) Of(vm record.VM) (ids []string, forgotten bool) {
	groups := gs.agent.config.Groups
	return group.Of(groups, vm), len(groups) > 0 && len(group.Ungrouped(groups, []record.VM{vm})) > 0
}

// Status returns one group. It fails with reason GroupNotFound.
func (gs Groups) Status(id string) (GroupStatus, error) {
	g, known := gs.agent.config.Group(id)
	if !known {
		e := fault.New(fault.GroupNotFound, "group %q is not configured", id)
		if len(gs.agent.config.Groups) == 0 {
			return GroupStatus{}, e.WithHint("the configuration has no [[group]]")
		}
		return GroupStatus{}, e.WithHint("group.list shows the groups")
	}
	all, err := gs.agent.Inventory.All()
	if err != nil {
		return GroupStatus{}, err
	}
	return gs.status(g, all)
}

func (gs Groups) status(g config.Group, all []record.VM) (GroupStatus, error) {
	s := GroupStatus{Config: g, Members: group.Members(g, all)}
	for _, c := range gs.agent.config.Schedules {
		if slices.Contains(c.Groups, g.ID) {
			s.Schedules = append(s.Schedules, c.ID)
		}
	}
	vms := make([]record.VM, len(s.Members))
	for i, m := range s.Members {
		vms[i] = m.VM
	}
	var err error
	s.Backups, err = gs.agent.BackupsOf(vms)
	return s, err
}
