package rpc

import "context"

// scheduleCalls are the methods of a [Client] about groups, schedules and their runs.
type scheduleCalls struct{ client *Client }

// ListGroups returns the configured groups, and the VMs that are in none.
func (s scheduleCalls) ListGroups(ctx context.Context) (GroupList, error) {
	return call[GroupList](ctx, s.client, MethodGroupList, None{})
}

// GetGroup returns a group with its members.
func (s scheduleCalls) GetGroup(ctx context.Context, id string) (Group, error) {
	return call[Group](ctx, s.client, MethodGroupGet, GroupRef{id})
}

// ListSchedules returns the configured schedules with their next times.
func (s scheduleCalls) ListSchedules(ctx context.Context, q ScheduleQuery) (ScheduleList, error) {
	return call[ScheduleList](ctx, s.client, MethodScheduleList, q)
}

// RunSchedule begins a run of a schedule now. It has no window. The schedule continues as it is.
func (s scheduleCalls) RunSchedule(ctx context.Context, id string) (Run, error) {
	return call[Run](ctx, s.client, MethodScheduleRun, ScheduleRef{id})
}

// PauseSchedule stops a schedule from beginning runs. A run in progress continues.
func (s scheduleCalls) PauseSchedule(ctx context.Context, p SchedulePause) (Schedule, error) {
	return call[Schedule](ctx, s.client, MethodSchedulePause, p)
}

// ResumeSchedule ends the pause of a schedule. What was due meanwhile is not made up. It is no error if the schedule is not paused.
func (s scheduleCalls) ResumeSchedule(ctx context.Context, id string) (Schedule, error) {
	return call[Schedule](ctx, s.client, MethodScheduleResume, ScheduleRef{id})
}

// ListRuns returns runs of schedules, the latest due time first.
func (s scheduleCalls) ListRuns(ctx context.Context, q RunQuery) (RunList, error) {
	return call[RunList](ctx, s.client, MethodRunList, q)
}

// GetRun returns a run with its VMs.
func (s scheduleCalls) GetRun(ctx context.Context, id string) (Run, error) {
	return call[Run](ctx, s.client, MethodRunGet, RunRef{id})
}

// CancelRun ends a run: nothing more of it starts, and its backups in progress are canceled. It does not wait for their ends.
func (s scheduleCalls) CancelRun(ctx context.Context, id string) (Run, error) {
	return call[Run](ctx, s.client, MethodRunCancel, RunRef{id})
}
