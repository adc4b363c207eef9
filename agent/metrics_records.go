package agent

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
)

var (
	descRestores    = prometheus.NewDesc("sendense_restore_active", "Restores that have not ended.", nil, nil)
	descRestoreInfo = prometheus.NewDesc("sendense_restore_active_info",
		"Restores of a VM that have not ended, by kind (disks, files) and state.", []string{"vm", "kind", "state"}, nil)
	descRestoreOverdue = prometheus.NewDesc("sendense_restore_overdue",
		"Expired restores that continue because a client is connected.", nil, nil)
	descActive = prometheus.NewDesc("sendense_backup_active",
		"Backups that have not ended, by state; queued is the length of the queue.", []string{"state"}, nil)
	descActiveInfo = prometheus.NewDesc("sendense_backup_active_info",
		"Always 1; the labels are VM, type, repository and state of a backup that has not ended.",
		[]string{"vm", "type", "repository", "state"}, nil)
	descPruned = prometheus.NewDesc("sendense_prune_last_run_timestamp_seconds",
		"Time at which the policies were last applied to all restore points, as Unix time; 0 = never.", nil, nil)
	descRepositoryPaused = prometheus.NewDesc("sendense_agent_repository_paused",
		"Whether a repository is paused, so that nothing new starts there (1), or not (0).", []string{"repository"}, nil)
	descStoreSize = prometheus.NewDesc("sendense_agent_store_size_bytes", "Size of the database.", nil, nil)
)

// database reports what is active now. Its cost depends on the active backups, not on how many have ended.
func (sc *scrape) database(context.Context) ([]prometheus.Metric, error) {
	active, err := sc.agent.store.Active()
	if err != nil {
		return nil, err
	}
	list := []prometheus.Metric{gauge(descStoreSize, float64(sc.agent.store.SizeBytes()))}
	count := map[record.State]int{}
	for _, b := range active {
		count[b.State]++
		if b.State != record.Queued || count[b.State] <= sc.agent.config.Metrics.MaxVMs { // the queue may be long
			list = append(list, gauge(descActiveInfo, 1, b.VM.Name, string(b.Type), b.Repository, string(b.State)))
		}
	}
	for _, state := range record.States {
		if state.Active() {
			list = append(list, gauge(descActive, float64(count[state]), string(state)))
		}
	}
	pruned, err := sc.agent.store.Pruned()
	if err != nil {
		return nil, err
	}
	list = append(list, gauge(descPruned, float64(max(pruned.Unix(), 0)))) // the zero time is before 1970
	pauses := sc.agent.pauses()
	for _, r := range sc.agent.Repositories.All {
		paused := 0.0
		if pauses[r.ID] != nil {
			paused = 1
		}
		list = append(list, gauge(descRepositoryPaused, paused, r.ID))
	}
	clock, err := sc.clock()
	if err != nil {
		return nil, err
	}
	list = append(list, clock...)
	restores, err := sc.agent.store.ActiveRestores()
	return append(list, restoreGauges(restores, time.Now())...), err
}

// restoreGauges reports the active restores. No label is an id, so restores of one VM, kind and state share a series.
func restoreGauges(restores []record.Restore, now time.Time) []prometheus.Metric {
	type labels struct{ vm, kind, state string }
	count := map[labels]int{}
	overdue := 0
	for _, r := range restores {
		count[labels{r.VMName, metrics.KindOfRestore(r), string(r.State)}]++
		if now.After(r.ExpiresAt) {
			overdue++
		}
	}
	list := []prometheus.Metric{gauge(descRestores, float64(len(restores))), gauge(descRestoreOverdue, float64(overdue))}
	for l, n := range count {
		list = append(list, gauge(descRestoreInfo, float64(n), l.vm, l.kind, l.state))
	}
	return list
}
