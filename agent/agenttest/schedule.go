package agenttest

import (
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// Scheduled configures a deep verification every second, with a rate limit in bytes per second.
func Scheduled(rate int64) func(*config.Config, *snatest.Options) {
	return func(c *config.Config, _ *snatest.Options) {
		c.Verify = config.Verify{DeepInterval: config.DurationOf(time.Second), RateLimit: config.SizeOf(rate)}
	}
}

// Known waits until holds returns true for the verification on record of a restore point.
func (w *World) Known(id string, what string, holds func(v record.Verification) bool) {
	w.Helper()
	w.Eventually(what, func() bool {
		b, err := w.Agent.Records.Backup(id)
		Must(w.TB, err)
		return b.Verified != nil && holds(*b.Verified)
	})
}
