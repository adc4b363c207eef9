package doctor

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/repositories"
)

// liveTimeout limits each check of a running agent: a request is answered within five seconds, whatever hangs.
const liveTimeout = 4500 * time.Millisecond

// Live does the checks that a running agent can do itself. They are cheap, and start nothing.
func Live(ctx context.Context, a *agent.Agent) Report {
	status := sync.OnceValue(func() agent.Status { return a.Status(ctx) })
	cfg := *a.Config()
	cfg.SNA.AcceptWriteZeroes = a.Exports.AcceptsZeroes() // a reload may have changed it
	h := &host{config: &cfg, live: a.Repositories}
	h.account, h.accountErr = repositories.ExporterAccount(h.config)
	h.exports = func(ctx context.Context) (ports []uint16, err error) {
		list, err := a.ListExports(ctx)
		for _, e := range list {
			ports = append(ports, e.Port)
		}
		return ports, err
	}
	h.askDaemon = func(context.Context) (Daemon, error) {
		s := status()
		d := Daemon{FuturePoints: s.FuturePoints, FutureIDs: s.FutureIDs}
		for _, p := range s.HeldPrunes {
			d.HeldPrunes = append(d.HeldPrunes, HeldPrune{p.VMName, p.Repository, p.Removed, p.Points})
		}
		return d, nil
	}
	checks := []check{
		{name: "agent", look: func(ctx context.Context) []Finding {
			about := one("agent", "")
			if err := a.Ready(ctx); err != nil {
				return about.error(err.Error(), cmp.Or(fault.From(err).Hint, "look at 'journalctl -u sendense-agent'"))
			}
			return about.ok("database and systemd answer, and the database can be written")
		}},
		{name: "damage", look: func(context.Context) []Finding { return damage(a.Records.DamagedPoints()) }},
		{name: "exporter-user", object: h.config.Agent.ExporterUser, look: h.exporterUser},
		{name: "qemu-img", object: h.config.NBD.QemuImg, look: h.qemuImg},
		{name: "qemu-nbd", object: h.config.NBD.QemuNBD, look: h.qemuNBD},
		{name: "state-directory", object: h.config.Agent.StateDirectory, look: h.stateDirectory},
		{name: "ports", object: h.portRange().String(), look: h.ports},
		{name: "dates", look: h.dates},
		{name: "prune", look: h.heldPrunes},
		{name: "sna", object: h.config.SNA.URL, look: h.sna},
		{name: "write-zeroes", object: h.config.SNA.URL, look: h.writeZeroes},
		{name: "credentials", look: h.credentials},
		{name: "schedules", look: func(ctx context.Context) []Finding {
			return append(schedules(ctx, h.config), scheduled(a, h.config)...)
		}},
		{name: "hooks", look: func(context.Context) []Finding { return hooks(h.config) }},
		{name: "audit", object: auditPath(h.config), look: func(context.Context) []Finding { return auditWritten(h.config, a.Audit.Problem()) }},
		{name: "apart", look: h.apart},
	}
	h.catalog = a.Catalog.State
	checks = append(checks, h.recordsChecks()...)
	checks = append(checks, h.repositoryChecks(func(ctx context.Context, r config.Repository) []Finding {
		return append(h.liveRepository(ctx, r), h.keyed(ctx, r, nil)...)
	})...)
	found := runLive(ctx, checks)
	return newReport(status().Version, found)
}

// runLive does all checks at once, so that those that hang delay none.
func runLive(ctx context.Context, checks []check) []Finding {
	for i := range checks {
		checks[i].timeout, checks[i].cleanup = liveTimeout, 0
	}
	return runTogether(ctx, checks, len(checks))
}

// damage counts damaged restore points. They do not stop backups.
func damage(points int, err error) []Finding {
	about := one("damage", "")
	switch {
	case err != nil:
		return about.skip("the database cannot be read: "+err.Error(), "look at 'journalctl -u sendense-agent'")
	case points == 0:
		return about.ok("no restore point is known to be damaged")
	}
	return with(about.warn(fmt.Sprintf("restore points that are damaged, or based on a damaged one: %d", points),
		"list them with 'sendensectl backup list --damaged', and make full backups of their VMs"), "restore_points", fmt.Sprint(points))
}
