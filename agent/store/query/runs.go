package query

import (
	"bytes"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// Run returns the run of that id with its VMs, ordered by name; or a *NotFoundError.
func (r *Reader) Run(id string) (run record.Run, vms []record.RunVM, err error) {
	err = r.file.View(func(t *dbfile.Tx) (err error) {
		if run, err = schema.Run(t, id); err != nil {
			return err
		}
		vms, err = schema.RunVMs(t, id)
		return err
	})
	if err != nil {
		return record.Run{}, nil, err
	}
	return run, vms, nil
}

// RunAlone returns the run of that id without its VMs, which may be hundreds; or a *NotFoundError.
func (r *Reader) RunAlone(id string) (run record.Run, err error) {
	err = r.file.View(func(t *dbfile.Tx) (err error) {
		run, err = schema.Run(t, id)
		return err
	})
	return run, err
}

// RunQuery selects runs.
type RunQuery struct {
	Schedule string    // id; "" = every schedule
	Since    time.Time // due then or later; zero = any time
	Until    time.Time // due before then; zero = any time
	Active   bool      // only those that are running
	Limit    int       // at most so many; 0 = all
}

func (q RunQuery) selects(run record.Run) bool {
	return (q.Schedule == "" || run.Schedule == q.Schedule) && (!q.Active || run.State == record.RunRunning) && !run.Due.Before(q.Since) &&
		(q.Until.IsZero() || run.Due.Before(q.Until))
}

// Runs returns the selected runs, the latest due time first.
func (r *Reader) Runs(q RunQuery) (list []record.Run, err error) {
	var prefix []byte // of the ids of the runs of a schedule, see record.RunID
	if q.Schedule != "" {
		prefix = []byte(q.Schedule + "-")
	}
	err = r.file.View(func(t *dbfile.Tx) error {
		c := t.Bucket(schema.BucketRuns).Cursor()
		for k, value := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, value = c.Next() {
			var run record.Run
			if err := schema.Decode(t, schema.BucketRuns, k, value, &run); err != nil {
				return err
			}
			if q.selects(run) {
				list = append(list, run)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b record.Run) int { return b.Due.Compare(a.Due) })
	if q.Limit > 0 {
		list = list[:min(q.Limit, len(list))]
	}
	return list, nil
}

// Schedule returns what is on record about a schedule, and whether anything is.
func (r *Reader) Schedule(id string) (s record.ScheduleState, found bool, err error) {
	err = r.file.View(func(t *dbfile.Tx) (err error) {
		found, err = schema.Get(t, schema.BucketSchedules, []byte(id), &s)
		return err
	})
	return s, found && err == nil, err
}

// CoolingUntil returns until when a VM cools down; the zero time if it does not.
func (r *Reader) CoolingUntil(vm string, now time.Time) (until time.Time, err error) {
	_, vms, err := r.Cooling(now)
	for _, v := range vms {
		if v.Name == vm {
			until = v.Until
		}
	}
	return until, err
}
