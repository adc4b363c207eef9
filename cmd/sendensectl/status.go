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

func printStatus(p *printer, s rpc.AgentStatus) {
	bus := "connected"
	if !s.BusConnected {
		bus = "NOT connected: nothing can be started or stopped"
	}
	p.pairs("agent", s.Version, "started", humanTime(s.StartedAt), "systemd", bus, "sna", s.SNAURL, "vcenters", strings.Join(s.VCenters, ", "),
		"vms", strconv.Itoa(s.VMs), "active backups", strconv.Itoa(s.ActiveBackups), "restores", strconv.Itoa(s.ActiveRestores),
		"ports", fmt.Sprintf("%d, of them %d leased, %d cooling down, %d held by others", s.Ports.Total, s.Ports.Leased, s.Ports.Cooling, s.Ports.Foreign))
	if s.State.Error != "" {
		p.pairs("NOT ready", "nothing can be put on record: "+s.State.Error, "hint", inCommands(s.State.Hint))
	}
	for _, path := range s.State.SetAside {
		p.pairs("set aside", path+": a damaged database; remove it when the catalog is as it should be")
	}
	p.line("")
	printRepositories(p, s.Repositories)
}
