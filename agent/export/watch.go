package export

import (
	"context"
	"fmt"

	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/units"
)

// Check returns the units of a job's record, by name, if its units may have changed since the last check. An exporter that is gone, has
// ended or was replaced is an error; result says how it ended. Check returns nil if there is nothing to check, or if the units cannot be
// read: then the job checks again later.
func (m *Manager) Check(j *job.Job, disks []record.Served) (loaded map[string]units.Unit, result string, err error) {
	if !j.Look.Swap(false) {
		return nil, "", nil
	}
	ctx, cancel := context.WithTimeout(j.Ctx, BusTimeout)
	defer cancel()
	loaded, err = byName(m.Units.ListBrief(ctx, UnitsOf(j.ID)))
	if j.Ctx.Err() != nil {
		return nil, "", context.Cause(j.Ctx)
	}
	if err != nil {
		// The bus is not reachable. It sends an event when it is back.
		m.Log.Warn("cannot read the state of the exporters", j.LogID(), logkey.Error, err)
		j.Look.Store(true)
		return nil, "", nil
	}
	for _, d := range disks {
		if result, how := Ending(loaded, d.Unit, d.InvocationID, "during the "+j.Kind().String()); how != "" {
			return nil, result, m.Gone(j, d, how)
		}
	}
	return loaded, "", nil
}

// Ending says how a unit that should run has ended; when is what it ended in. Both results are empty while it runs.
func Ending(loaded map[string]units.Unit, name, invocationID, when string) (result, how string) {
	u, there := loaded[name]
	switch {
	case !there:
		return record.ResultGone, "its unit is gone"
	case u.InvocationID != invocationID:
		return record.ResultGone, "its unit was replaced"
	case !u.Running():
		return ResultOf(u), fmt.Sprintf("it ended %s: result %s, exit status %d", when, ResultOf(u), u.ExecMainStatus)
	}
	return "", ""
}
