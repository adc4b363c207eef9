// Package daemon holds the commands about the agent itself: status, doctor, log-level.
package daemon

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/repository"
	"github.com/sendense/backup-agent/rpc"
)

func Status(a *command.App) *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Show the agent at a glance", Args: command.NoArgs}
	return a.Poll(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*output.Printer), error) {
		s, err := c.Status(ctx)
		return s, func(p *output.Printer) { printStatus(p, s) }, err
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

func printStatus(p *output.Printer, s rpc.AgentStatus) {
	bus := "connected"
	if !s.BusConnected {
		bus = "NOT connected: nothing can be started or stopped"
	}
	pairs := []string{
		"agent", s.Version, "started", human.Time(s.StartedAt), "systemd", bus, "sna", s.SNAURL, "vcenters", strings.Join(s.VCenters, ", "),
		"vms", strconv.Itoa(s.VMs), "active backups", strconv.Itoa(s.ActiveBackups), "restores", strconv.Itoa(s.ActiveRestores),
		"ports", fmt.Sprintf("%d, of them %d leased, %d cooling down, %d held by others", s.Ports.Total, s.Ports.Leased, s.Ports.Cooling, s.Ports.Foreign),
		"catalog", repository.Catalog(s.CatalogDifferences, s.Repositories...),
	}
	if s.State.Error != "" {
		pairs = append(pairs, "NOT ready", "nothing can be put on record: "+s.State.Error, "hint", hint.InCommands(s.State.Hint))
	}
	for _, path := range s.State.SetAside {
		pairs = append(pairs, "set aside", path+": a damaged database; remove it when the catalog is as it should be")
	}
	p.Pairs(pairs...)
	for _, w := range s.Warnings {
		p.Prose("warning: %s", w)
	}
	printRestorePoints(p, s)
	p.Line("")
	repository.Print(p, s.Repositories)
}

// printRestorePoints tells of those that somebody should look at.
func printRestorePoints(p *output.Printer, s rpc.AgentStatus) {
	for _, h := range s.HeldPrunes {
		p.Line("")
		describe.PrintHeldPrune(p, h)
	}
	if n := s.FutureRestorePoints; n > 0 {
		p.Line("")
		counts := "They count"
		if n == 1 {
			counts = "It counts"
		}
		p.Prose("%s dated in the future, because a clock was wrong, or is: %s. %s for no retention rule and no age.",
			human.CountAre(n, "restore point"), namedText(s.FutureBackupIDs, n), counts)
	}
}
