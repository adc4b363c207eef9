package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the agent at a glance", Args: cobra.NoArgs,
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			return a.show(s, func(p *printer) { printStatus(p, s) })
		}),
	}
}

func printStatus(p *printer, s rpc.AgentStatus) {
	bus := "connected"
	if !s.BusConnected {
		bus = "NOT connected: nothing can be started or stopped"
	}
	p.pairs("agent", s.Version, "started", humanTime(s.StartedAt), "systemd", bus, "sna", s.SNAURL,
		"vms", strconv.Itoa(s.VMs), "active backups", strconv.Itoa(s.ActiveBackups),
		"ports", fmt.Sprintf("%d, of them %d leased, %d cooling down, %d held by others", s.Ports.Total, s.Ports.Leased, s.Ports.Cooling, s.Ports.Foreign))
	p.line("")
	printRepositories(p, s.Repositories)
}
