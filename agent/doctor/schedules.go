package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/run"
	"github.com/sendense/backup-agent/agent/schedule"
)

// schedules checks that systemd can read the calendar of each schedule, that it has a next time, and that each group has a schedule.
func schedules(ctx context.Context, c *config.Config) (found []Finding) {
	for _, s := range c.Schedules {
		about := one("schedules", s.ID)
		switch next, err := schedule.Next(ctx, s, time.Now()); {
		case err != nil:
			found = append(found, about.error(fmt.Sprintf("schedule %q: %v", s.ID, err), "correct it in the [[schedule]] of the configuration, then restart the daemon")...)
		case next.IsZero():
			found = append(found, about.warn("it never begins a run: its calendar, "+s.Calendar+", has no time in the future that is not in blackout",
				"correct calendar or blackout in the [[schedule]] of the configuration, then restart the daemon")...)
		default:
			found = append(found, about.ok("systemd reads its calendar, "+s.Calendar+"; next "+next.Local().Format("2006-01-02 15:04"))...)
		}
	}
	for _, g := range c.Groups {
		if !slices.ContainsFunc(c.Schedules, func(s config.Schedule) bool { return slices.Contains(s.Groups, g.ID) }) {
			found = append(found, one("schedules", "group "+g.ID).warn("no schedule backs it up", "name it in the groups of a [[schedule]], or remove it")...)
		}
	}
	return found
}

// scheduled is what only a running agent knows about schedules: VMs without a group or a restore point, and windows that are too short.
func scheduled(a *agent.Agent, c *config.Config) (found []Finding) {
	found = append(windows(c, a.Runs.Shortage), neverBackedUp(a.BackupsOfAll())...)
	if len(c.Groups) > 0 {
		_, ungrouped, err := a.Groups.List()
		found = append(found, grouped(ungrouped, err)...)
	}
	return found
}

// windows checks that the windows of the schedules are long enough for their VMs, by their last runs.
func windows(c *config.Config, shortage func(schedule string) (run.Shortage, error)) (found []Finding) {
	for _, s := range c.Schedules {
		if s.Window.Std() == 0 {
			continue
		}
		about := one("schedules", s.ID)
		switch last, err := shortage(s.ID); {
		case err != nil:
			found = append(found, about.skip("its runs cannot be read: "+err.Error(), "look at 'journalctl -u sendense-agent'")...)
		case 2*last.Short > last.Runs:
			found = append(found, about.warn(fmt.Sprintf("its window of %s is too short: in %d of its last %d runs, %d of %d VMs had no turn before its end, or were canceled then",
				s.Window, last.Short, last.Runs, last.Late, last.VMs),
				"raise its window or parallel, or give some of its groups a schedule of their own; 'sendensectl run list --schedule "+s.ID+"' shows the runs")...)
		}
	}
	return found
}

// neverBackedUp checks that every VM that is long enough on record has a restore point.
func neverBackedUp(backups []agent.VMBackups, err error) []Finding {
	about := one("schedules", "restore points")
	if err != nil {
		return about.skip("the database cannot be read: "+err.Error(), "look at 'journalctl -u sendense-agent'")
	}
	var names []string
	for _, b := range backups {
		if b.Good == nil && b.Overdue {
			names = append(names, b.VMName)
		}
	}
	if len(names) == 0 {
		return about.ok("every VM has one that is not damaged, or is new, or wants none")
	}
	return with(about.warn(fmt.Sprintf("VMs that were never backed up, or have no restore point left that is not damaged: %d, such as %s", len(names), some(names)),
		"'sendensectl vm list' shows them, 'sendensectl group list' whether a schedule backs them up"), "vms", fmt.Sprint(len(names)))
}

// some are the first names of a list.
func some(names []string) string { return strings.Join(names[:min(len(names), 5)], ", ") }

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
	for _, vm := range ungrouped {
		names = append(names, vm.Name)
	}
	return with(about.warn(fmt.Sprintf("VMs that no schedule backs up, because they are in no group: %d, such as %s", len(ungrouped), some(names)),
		"list them with 'sendensectl group list'. Add them to a [[group]], or to its exclude"), "vms", fmt.Sprint(len(ungrouped)))
}
