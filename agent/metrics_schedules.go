package agent

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/group"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

var (
	descVMsUngrouped = prometheus.NewDesc("sendense_agent_vms_ungrouped",
		"VMs on record that no group chooses or excludes, so that no schedule backs them up. No series if there are no groups.", nil, nil)
	descVMsMissing = prometheus.NewDesc("sendense_agent_vms_missing",
		"VMs on record that their vCenter does not list any more. No group chooses them.", nil, nil)
	descScheduleNext = prometheus.NewDesc("sendense_schedule_next_run_timestamp_seconds",
		"Time at which the next run of a schedule begins, as Unix time. No series while it is paused, or if it has no next run.", []string{"schedule"}, nil)
	descScheduleLast = prometheus.NewDesc("sendense_schedule_last_run_timestamp_seconds",
		"Time at which the last run of a schedule began that was not skipped, as Unix time. No series before the first one.", []string{"schedule"}, nil)
	descScheduleLastGood = prometheus.NewDesc("sendense_schedule_last_run_ok",
		"1 if the last run of a schedule that has ended was completed, 0 if VMs failed or were skipped, or it was canceled or skipped.", []string{"schedule"}, nil)
	descSchedulePaused = prometheus.NewDesc("sendense_schedule_paused", "1 if the schedule is paused.", []string{"schedule"}, nil)
	descRunVMs         = prometheus.NewDesc("sendense_schedule_run_vms",
		"VMs of the run of a schedule that is in progress, by state.", []string{"schedule", "state"}, nil)
)

// schedules reports the groups, and each schedule with its runs.
func (sc *scrape) schedules(ctx context.Context) (list []prometheus.Metric, err error) {
	all, err := sc.agent.Inventory.All()
	if err != nil {
		return nil, err
	}
	if groups := sc.agent.config.Groups; len(groups) > 0 {
		list = append(list, gauge(descVMsUngrouped, float64(len(group.Ungrouped(groups, all)))))
	}
	missing := 0
	for _, vm := range all {
		if !vm.MissingSince.IsZero() {
			missing++
		}
	}
	list = append(list, gauge(descVMsMissing, float64(missing)))
	for _, c := range sc.agent.config.Schedules {
		of, err := sc.schedule(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		list = append(list, of...)
	}
	return list, nil
}

func (sc *scrape) schedule(ctx context.Context, id string) (list []prometheus.Metric, err error) {
	s, err := sc.agent.Schedules.Status(ctx, id, 1)
	if err != nil {
		return nil, err
	}
	paused := 0.0
	if !s.State.PausedSince.IsZero() {
		paused = 1
	}
	list = append(list, gauge(descSchedulePaused, paused, id))
	for _, next := range s.Next {
		list = append(list, gauge(descScheduleNext, unixTime(next), id))
	}
	runs, err := sc.agent.store.Runs(store.RunQuery{Schedule: id})
	if err != nil {
		return nil, err
	}
	began, ended := false, false
	for _, r := range runs { // the latest is first
		if r.State != record.RunSkipped && !began {
			began = true
			list = append(list, gauge(descScheduleLast, unixTime(r.StartedAt), id))
		}
		if r.State != record.RunRunning && !ended {
			ended = true
			list = append(list, gauge(descScheduleLastGood, map[bool]float64{true: 1}[r.State == record.RunCompleted], id))
		}
	}
	if s.Running == nil {
		return list, nil
	}
	_, vms, err := sc.agent.store.Run(s.Running.ID)
	states := map[record.RunVMState]int{}
	for _, v := range vms {
		states[v.State]++
	}
	for state, n := range states {
		list = append(list, gauge(descRunVMs, float64(n), id, string(state)))
	}
	return list, err
}
