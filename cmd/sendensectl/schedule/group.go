package schedule

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

// Group makes "group" with its verbs.
func Group(a *command.App) *cobra.Command {
	return command.WithVerbs("group", "Show the groups of VMs that schedules back up", groupListCommand(a), groupShowCommand(a))
}

func groupListCommand(a *command.App) *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List the groups, and the VMs that are in none", Args: command.NoArgs,
		Long: `List the groups of the configuration with the number of their VMs, and the VMs that are in none: no schedule backs these up.`,
	}
	return a.Poll(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*output.Printer), error) {
		list, err := c.ListGroups(ctx)
		return list, func(p *output.Printer) { printGroups(p, list) }, err
	})
}

func printGroups(p *output.Printer, list rpc.GroupList) {
	var rows [][]string
	for _, g := range list.Groups {
		rows = append(rows, []string{g.GroupID, strconv.Itoa(g.VMCount), strconv.Itoa(g.Overdue), rpo(g), strings.Join(g.Schedules, ", ")})
	}
	p.Table([]output.Column{{Title: "group"}, {Title: "VMs"}, {Title: "overdue"}, {Title: "RPO", Rank: 1}, {Title: "schedules"}}, rows)
	p.None(len(rows), "no groups are configured; to add one: [[group]] in the configuration of the agent")
	for _, g := range list.Groups {
		if len(g.Schedules) == 0 {
			p.Prose("No schedule backs up group %s.", g.GroupID)
		}
	}
	if len(list.Ungrouped) > 0 && len(list.Groups) > 0 {
		p.Prose("%s in no group: %s. No schedule backs up such a VM.", human.CountAre(len(list.Ungrouped), "VM"), human.FirstOf(list.Ungrouped))
	}
}

func rpo(g rpc.Group) string {
	if g.RPOSeconds == 0 {
		return "as configured"
	}
	return human.Duration(time.Duration(g.RPOSeconds) * time.Second)
}

func groupShowCommand(a *command.App) *cobra.Command {
	c := &cobra.Command{
		Use: "show GROUP", Short: "Show which VMs belong to a group, and why", Args: command.OneArg, ValidArgsFunction: a.CompleteFirst(command.GroupIDs),
		Long: `Show which VMs fit the rules of a group, which rules these are, and how the backups of each VM stand. A VM that is left out is listed
with the reason: it is excluded, or its vCenter does not have it any more.`,
	}
	return a.Poll(c, func(ctx context.Context, c *rpc.Client, args []string) (any, func(*output.Printer), error) {
		g, err := c.GetGroup(ctx, args[0])
		return g, func(p *output.Printer) { printGroup(p, g, time.Now()) }, err
	})
}

func printGroup(p *output.Printer, g rpc.Group, now time.Time) {
	p.Pairs("group", g.GroupID, "VMs", strconv.Itoa(g.VMCount), "overdue", strconv.Itoa(g.Overdue), "RPO", rpo(g), "schedules", strings.Join(g.Schedules, ", "))
	var rows [][]string
	for _, m := range g.Members {
		s, in := describe.StandingOf(m.Backups, now), "yes"
		if !m.In {
			in, s.Word = "no", "-"
		}
		rows = append(rows, []string{m.VMName, in, s.Word, s.Age, wanted(m.Backups), m.Why})
	}
	p.Table([]output.Column{
		{Title: "vm", Most: output.NameWidth}, {Title: "in"}, {Title: "backups"}, {Title: "newest is old"}, {Title: "wanted"}, {Title: "why", Rank: 1},
	}, rows)
	p.None(len(rows), "no VM on record fits the rules of the group")
}

// wanted is how old the newest restore point of a VM may be.
func wanted(of rpc.VMBackups) string {
	if of.IntervalSeconds == 0 {
		return "any"
	}
	return human.Duration(time.Duration(of.IntervalSeconds) * time.Second)
}
