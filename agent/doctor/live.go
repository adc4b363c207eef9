package doctor

import (
	"cmp"
	"context"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
)

// Live is what a running agent can tell of itself and what is around it: what is cheap, and starts nothing.
func Live(ctx context.Context, a *agent.Agent) Report {
	version := a.Status(ctx).Version
	h := &host{options: Options{Version: version}, config: a.Config()}
	h.credential, h.owner, h.accountErr = agent.ExporterAccount(h.config)
	h.exports = func(ctx context.Context) (ports []uint16, err error) {
		list, err := a.Exports(ctx)
		for _, e := range list {
			ports = append(ports, e.Port)
		}
		return ports, err
	}
	checks := []check{
		{name: "agent", look: func(ctx context.Context) []Finding {
			about := one("agent", "")
			if err := a.Ready(ctx); err != nil {
				return about.error(err.Error(), cmp.Or(agent.AsError(err).Hint, "look at 'journalctl -u sendense-agent'"))
			}
			return about.ok("database and service manager answer, and a transaction can be written")
		}},
		{name: "exporter-user", object: h.config.Agent.ExporterUser, look: h.exporterUser},
		{name: "qemu-img", object: h.config.NBD.QemuImg, look: h.qemuImg},
		{name: "qemu-nbd", object: h.config.NBD.QemuNBD, look: h.qemuNBD},
		{name: "state-directory", object: h.config.Agent.StateDirectory, look: h.stateDirectory},
		{name: "ports", object: h.portRange().String(), look: h.ports},
		{name: "sna", object: h.config.SNA.URL, look: h.sna},
		{name: "credentials", look: h.credentials},
	}
	return newReport(version, runAll(ctx, append(checks, h.repositoryChecks(func(ctx context.Context, r config.Repository) []Finding {
		return append(h.liveRepository(ctx, r), h.keyed(ctx, r, nil)...)
	})...)))
}
