package server

import (
	"context"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/translate"
)

// scheduleHandlers are the functions of the table for groups, schedules and runs.
type scheduleHandlers struct{ agent *agent.Agent }

func (h scheduleHandlers) groupList(context.Context, rpc.None) (rpc.GroupList, error) {
	list, ungrouped, err := h.agent.Groups.List()
	return translate.Groups(list, ungrouped), err
}

func (h scheduleHandlers) groupGet(_ context.Context, p rpc.GroupRef) (rpc.Group, error) {
	g, err := h.agent.Groups.Status(p.GroupID)
	return translate.Group(g, true), err
}

// maxNext limits how many next times of a schedule are asked for.
const maxNext = 1000

func (h scheduleHandlers) scheduleList(ctx context.Context, q rpc.ScheduleQuery) (rpc.ScheduleList, error) {
	if q.Count < 0 || q.Count > maxNext {
		return rpc.ScheduleList{}, fault.New(fault.InvalidRequest, "count %d: want 1 to %d, or 0 for 1", q.Count, maxNext)
	}
	list, err := h.agent.Schedules.List(ctx, q.ScheduleID, max(q.Count, 1))
	return translate.Schedules(list), err
}

func (h scheduleHandlers) scheduleRun(_ context.Context, p rpc.ScheduleRef) (rpc.Run, error) {
	run, err := h.agent.Schedules.Run(p.ScheduleID)
	return translate.Run(run, nil), err
}

func (h scheduleHandlers) schedulePause(ctx context.Context, p rpc.SchedulePause) (rpc.Schedule, error) {
	s, err := h.agent.Schedules.Pause(ctx, p.ScheduleID, p.Reason)
	return translate.Schedule(s), err
}

func (h scheduleHandlers) scheduleResume(ctx context.Context, p rpc.ScheduleRef) (rpc.Schedule, error) {
	s, err := h.agent.Schedules.Resume(ctx, p.ScheduleID)
	return translate.Schedule(s), err
}

func (h scheduleHandlers) runList(_ context.Context, q rpc.RunQuery) (rpc.RunList, error) {
	limit, err := ledger.PageSize(q.Limit)
	if err != nil {
		return rpc.RunList{}, err
	}
	list, err := h.agent.Runs.List(store.RunQuery{Schedule: q.ScheduleID, Since: q.Since, Until: q.Until, Active: q.Active, Limit: limit})
	return translate.Runs(list), err
}

func (h scheduleHandlers) runGet(_ context.Context, p rpc.RunRef) (rpc.Run, error) {
	run, vms, err := h.agent.Runs.Get(p.RunID)
	return translate.Run(run, vms), err
}

func (h scheduleHandlers) runCancel(_ context.Context, p rpc.RunRef) (rpc.Run, error) {
	run, err := h.agent.Runs.Cancel(p.RunID)
	return translate.Run(run, nil), err
}
