package agenttest

import (
	"os"
	"strings"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/prune"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// WithPolicy configures a policy for the repository.
func WithPolicy(p config.Policy) func(*config.Config, *snatest.Options) {
	return func(c *config.Config, _ *snatest.Options) {
		p.ID = "gold"
		c.Policies = []config.Policy{p}
		c.Repositories[0].Policy = "gold"
	}
}

// Prune applies the policies, or lists what it would do, as the request says.
func (w *World) Prune(r prune.Request) prune.Report {
	w.Helper()
	report, err := w.Agent.Policies.Prune(w.Context(), r)
	Must(w.TB, err)
	for _, p := range report.Points {
		w.Logf("%s %s: %s, %d bytes, %v", p.Action, p.BackupID, strings.Join(p.Reasons, ", "), p.Bytes, p.Failure)
	}
	return report
}

// Actions returns the action of a report for each point of a chain, in its order; "-" for none.
func Actions(r prune.Report, points []Instant) string {
	var list []string
	for _, i := range points {
		text := "-"
		for _, p := range r.Points {
			if p.BackupID == i.ID {
				text = string(p.Action)
			}
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

// There returns, for each point of a chain, "there" if it has a directory, else "-".
func (w Chains) There(points []Instant) string {
	var list []string
	for _, i := range points {
		text := "-"
		if _, err := os.Stat(i.Directory); err == nil {
			text = "there"
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}
