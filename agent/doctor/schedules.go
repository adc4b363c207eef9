package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/schedule"
)

// schedules checks that systemd can read the calendar of each schedule, and that each group has a schedule.
func schedules(ctx context.Context, c *config.Config) (found []Finding) {
	for _, s := range c.Schedules {
		about := one("schedules", s.ID)
		if err := schedule.Check(ctx, s); err != nil {
			found = append(found, about.error(err.Error(), "correct it in the [[schedule]] of the configuration, then restart the daemon")...)
			continue
		}
		found = append(found, about.ok("systemd reads its calendar, "+s.Calendar)...)
	}
	for _, g := range c.Groups {
		if !slices.ContainsFunc(c.Schedules, func(s config.Schedule) bool { return slices.Contains(s.Groups, g.ID) }) {
			found = append(found, one("schedules", "group "+g.ID).warn("no schedule backs it up", "name it in the groups of a [[schedule]], or remove it")...)
		}
	}
	return found
}

// grouped checks that no VM is forgotten: that each belongs to a group, or is excluded from one.
func grouped(ungrouped []record.VM, err error) []Finding {
	about := one("schedules", "VMs")
	switch {
	case err != nil:
		return about.skip("the database cannot be read: "+err.Error(), "look at 'journalctl -u sendense-agent'")
	case len(ungrouped) == 0:
		return about.ok("every VM on record is in a group, or excluded from one")
	}
	var names []string
	for _, vm := range ungrouped[:min(len(ungrouped), 5)] {
		names = append(names, vm.Name)
	}
	return with(about.warn(fmt.Sprintf("VMs that no schedule backs up, because they are in no group: %d, such as %s", len(ungrouped), strings.Join(names, ", ")),
		"list them with 'sendensectl group list'. Add them to a [[group]], or to its exclude"), "vms", fmt.Sprint(len(ungrouped)))
}
