// Package daemon has the commands about the agent itself: status, doctor, log-level.
package daemon

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/repository"
	"github.com/sendense/backup-agent/rpc"
)

// Status makes "status".
func Status(a *command.App) *cobra.Command {
	c := &cobra.Command{
		Use: "status", Short: "Show the agent, its repositories, and the backups at a glance", Args: command.NoArgs,
		Long: `Show the agent, its repositories, and the backups at a glance: the newest good restore point of each VM and its age, the VMs that
are overdue, what failed since yesterday and why, and what is in progress.

A VM is overdue if its newest good restore point is older than its interval (vm add --interval, otherwise metrics.backup_interval of
the configuration, which is 26h by default). A restore point is good if no damage of it is known and its date is not in the future.
The alert SendenseNoRecentBackup uses the same interval.`,
	}
	return a.Poll(c, func(ctx context.Context, c *rpc.Client, _ []string) (any, func(*output.Printer), error) {
		now := time.Now()
		g, err := look(ctx, c, now)
		return g, func(p *output.Printer) {
			printStatus(p, g.AgentStatus)
			g.print(p, now)
		}, err
	})
}

// namedText lists the first names of n.
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
		"ports", fmt.Sprintf("%d: %d leased, %d cooling down, %d used by other programs", s.Ports.Total, s.Ports.Leased, s.Ports.Cooling, s.Ports.Foreign),
		"catalog", repository.Catalog(s.CatalogDifferences, s.Repositories...),
	}
	if s.State.Error != "" {
		pairs = append(pairs, "NOT ready", "the database cannot be written: "+s.State.Error, "hint", hint.InCommands(s.State.Hint))
	}
	for _, path := range s.State.SetAside {
		pairs = append(pairs, "set aside", path+": a damaged database; check the catalog, then remove this file")
	}
	p.Pairs(pairs...)
	for _, w := range s.Warnings {
		p.Prose("warning: %s", w)
	}
	printRestorePoints(p, s)
	p.Line("")
	repository.Print(p, s.Repositories)
}

// printRestorePoints lists the restore points that need attention.
func printRestorePoints(p *output.Printer, s rpc.AgentStatus) {
	for _, h := range s.HeldPrunes {
		p.Line("")
		describe.PrintHeldPrune(p, h)
	}
	if n := s.FutureRestorePoints; n > 0 {
		p.Line("")
		p.Prose("%s dated in the future: %s. A clock was or is wrong. Retention and age ignore restore points with such a date.",
			human.CountAre(n, "restore point"), namedText(s.FutureBackupIDs, n))
	}
}
