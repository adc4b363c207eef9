package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) statusCommand() *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Show the agent at a glance", Args: noArgs}
	return a.look(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*printer), error) {
		s, err := c.Status(ctx)
		return s, func(p *printer) { printStatus(p, s) }, err
	})
}

// namedText names the first few of n.
func namedText(names []string, n int) string {
	names = names[:min(len(names), 5)]
	if more := n - len(names); more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), more)
	}
	return strings.Join(names, ", ")
}

func printStatus(p *printer, s rpc.AgentStatus) {
	bus := "connected"
	if !s.BusConnected {
		bus = "NOT connected: nothing can be started or stopped"
	}
	pairs := []string{
		"agent", s.Version, "started", humanTime(s.StartedAt), "systemd", bus, "sna", s.SNAURL, "vcenters", strings.Join(s.VCenters, ", "),
		"vms", strconv.Itoa(s.VMs), "active backups", strconv.Itoa(s.ActiveBackups), "restores", strconv.Itoa(s.ActiveRestores),
		"ports", fmt.Sprintf("%d, of them %d leased, %d cooling down, %d held by others", s.Ports.Total, s.Ports.Leased, s.Ports.Cooling, s.Ports.Foreign),
		"catalog", catalogLine(s.CatalogDifferences, s.Repositories...),
	}
	if s.State.Error != "" {
		pairs = append(pairs, "NOT ready", "nothing can be put on record: "+s.State.Error, "hint", inCommands(s.State.Hint))
	}
	for _, path := range s.State.SetAside {
		pairs = append(pairs, "set aside", path+": a damaged database; remove it when the catalog is as it should be")
	}
	p.pairs(pairs...)
	for _, w := range s.Warnings {
		p.prosaic("warning: %s", w)
	}
	printRestorePoints(p, s)
	p.line("")
	printRepositories(p, s.Repositories)
}

// printRestorePoints tells of those that somebody should look at.
func printRestorePoints(p *printer, s rpc.AgentStatus) {
	for _, h := range s.HeldPrunes {
		p.line("")
		printHeld(p, h)
	}
	if n := s.FutureRestorePoints; n > 0 {
		p.line("")
		counts := "They count"
		if n == 1 {
			counts = "It counts"
		}
		p.prosaic("%s dated in the future, because a clock was wrong, or is: %s. %s for no retention rule and no age.",
			isOrAre(n, "restore point"), namedText(s.FutureBackupIDs, n), counts)
	}
}
