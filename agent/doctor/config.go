package doctor

import (
	"context"
	"fmt"
	"strings"
)

// configuration lists every problem of the configuration file.
func (h *host) configuration(context.Context) []Finding {
	about := one("config", h.options.ConfigPath)
	if h.configErr == nil {
		if len(h.config.Repositories) == 0 {
			return about.warn("no repository is configured, so every backup is refused", "add a [[repository]] table with an id and a path")
		}
		return about.ok(fmt.Sprintf("%s, %s", count(len(h.config.Repositories), "repository"), count(len(h.config.VCenters), "vCenter")))
	}
	var found []Finding
	for _, problem := range problems(h.configErr) {
		found = append(found, about.error(problem.Error(),
			"correct the file and check it with 'sendense-agent check-config'; the other checks used the default in its place")...)
	}
	return found
}

// problems splits a joined error.
func problems(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// count is a number with its noun, "1 repository" or "2 repositories".
func count(n int, noun string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(noun, "y"):
		noun = strings.TrimSuffix(noun, "y") + "ies"
	default:
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// exporterUser checks that the exporters' user exists.
func (h *host) exporterUser(context.Context) []Finding {
	about := one("exporter-user", h.config.Agent.ExporterUser)
	switch {
	case h.accountErr != nil:
		return about.error(h.accountErr.Error(), "run systemd-sysusers, which makes the user and group of the package; "+
			"or set agent.exporter_user and agent.exporter_group to existing ones")
	case h.account.Credential == nil:
		return about.ok("the exporters run as the daemon's own user")
	}
	return about.ok(fmt.Sprintf("uid %d, gid %d", h.account.Credential.Uid, h.account.Credential.Gid))
}
