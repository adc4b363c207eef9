package agent

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

var (
	descDamaged = prometheus.NewDesc("sendense_verify_damaged_restore_points",
		"Restore points that are damaged: one of their files, or of a restore point they are based on, differs from what was written.", nil, nil)
	descVerifyInterval = prometheus.NewDesc("sendense_verify_interval_seconds",
		"Interval of scheduled verification, by depth (shallow, deep); no series if never.", []string{"depth"}, nil)
	descVerifyOldest = prometheus.NewDesc("sendense_verify_oldest_timestamp_seconds",
		"Time of the verification that is longest ago, by depth, as Unix time; 0 = a time lies in the future.",
		[]string{"depth"}, nil)
	descVerifyLast = prometheus.NewDesc("sendense_verify_last_timestamp_seconds",
		"Time at which the newest restore point of a VM in a repository was last verified, by depth, as Unix time; the end of its backup counts; 0 = it lies in the future.",
		[]string{"vm", "repository", "depth"}, nil)
	descVerifyOK = prometheus.NewDesc("sendense_verify_last_ok",
		"1 if the newest restore point of a VM in a repository, and its chain, have no known damage, else 0.", []string{"vm", "repository"}, nil)
)

// verified reports the verifications on record. It reads the beginning of two indexes, however many restore points there are.
func (sc *scrape) verified(context.Context) ([]prometheus.Metric, error) {
	damaged, err := sc.agent.store.DamagedPoints()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	list := []prometheus.Metric{gauge(descDamaged, float64(damaged))}
	for _, deep := range []bool{false, true} {
		p, found, err := sc.agent.store.LongestUnverified(store.Unverified{Deep: deep, Now: now})
		if err != nil {
			return nil, err
		}
		if found {
			list = append(list, gauge(descVerifyOldest, verifiedTime(p, deep, now), metrics.DepthOf(deep)))
		}
		if interval := sc.agent.Verifications.VerifyInterval(deep); interval > 0 {
			list = append(list, gauge(descVerifyInterval, interval.Seconds(), metrics.DepthOf(deep)))
		}
	}
	return list, nil
}

// verifiedTime returns when a restore point was verified, as Unix time; 0 = a date in the future, which is not believed.
func verifiedTime(b record.Backup, deep bool, now time.Time) float64 {
	return max(unixTime(record.Believed(b.VerifiedAt(deep), now)), 0)
}

// verifiedPoint reports the verification of the newest restore point of a VM in a repository.
func verifiedPoint(b record.Backup, repository string, now time.Time) []prometheus.Metric {
	ok := 1.0
	if b.Damaged() {
		ok = 0
	}
	return []prometheus.Metric{
		gauge(descVerifyOK, ok, b.VM.Name, repository),
		gauge(descVerifyLast, verifiedTime(b, false, now), b.VM.Name, repository, metrics.DepthOf(false)),
		gauge(descVerifyLast, verifiedTime(b, true, now), b.VM.Name, repository, metrics.DepthOf(true)),
	}
}
