package agent

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/backup"
)

var (
	descDamaged = prometheus.NewDesc("sendense_verify_damaged_restore_points",
		"Restore points that are damaged: a file of theirs, or of what they stand on, is not what was written.", nil, nil)
	descVerifyInterval = prometheus.NewDesc("sendense_verify_interval_seconds",
		"How often every restore point is to be verified, by depth (shallow, deep); where never, there is no such series.", []string{"depth"}, nil)
	descVerifyOldest = prometheus.NewDesc("sendense_verify_oldest_timestamp_seconds",
		"Time at which the restore point was verified that was verified longest ago, by depth, as Unix time.", []string{"depth"}, nil)
	descVerifyLast = prometheus.NewDesc("sendense_verify_last_timestamp_seconds",
		"Time at which the newest restore point of a VM in a repository was last verified, by depth, as Unix time; the end of its backup counts.",
		[]string{"vm", "repository", "depth"}, nil)
	descVerifyOK = prometheus.NewDesc("sendense_verify_last_ok",
		"1 if no damage is known of the newest restore point of a VM in a repository, and of what it stands on, 0 if there is.", []string{"vm", "repository"}, nil)
)

func depthOf(deep bool) string {
	if deep {
		return "deep"
	}
	return "shallow"
}

// verified counts a restore point that was verified.
func (m *metrics) verified(deep bool, result string) {
	m.verifications.WithLabelValues(depthOf(deep), result).Inc()
}

// scrapeVerified tells what is on record about verifications: a look at the beginning of two orders, however many restore
// points there are.
func (a *Agent) scrapeVerified(context.Context) ([]prometheus.Metric, error) {
	damaged, err := a.store.DamagedPoints()
	if err != nil {
		return nil, err
	}
	list := []prometheus.Metric{gauge(descDamaged, float64(damaged))}
	for _, deep := range []bool{false, true} {
		p, found, err := a.store.LongestUnverified(deep, nil)
		if err != nil {
			return nil, err
		}
		if found {
			list = append(list, gauge(descVerifyOldest, unixTime(p.VerifiedAt(deep)), depthOf(deep)))
		}
		if interval := a.verifyInterval(deep); interval > 0 {
			list = append(list, gauge(descVerifyInterval, interval.Seconds(), depthOf(deep)))
		}
	}
	return list, nil
}

// verifiedPoint tells of the newest restore point of a VM.
func verifiedPoint(b backup.Backup, repository string) []prometheus.Metric {
	ok := 1.0
	if b.Damaged() {
		ok = 0
	}
	return []prometheus.Metric{
		gauge(descVerifyOK, ok, b.VM.Name, repository),
		gauge(descVerifyLast, unixTime(b.VerifiedAt(false)), b.VM.Name, repository, depthOf(false)),
		gauge(descVerifyLast, unixTime(b.VerifiedAt(true)), b.VM.Name, repository, depthOf(true)),
	}
}
