package store

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// scheduling changes the records of schedules and runs. It is a part of Store.
type scheduling struct{ file *dbfile.File }

// AddRun puts a run on record, and in the same transaction that its schedule is handled up to the due time. So no due time gets a second
// run, whatever is interrupted. It returns the run with its id. That of a run for which there is an id already, because the clock was once
// ahead or two persons asked within a second, gets a number at its end. A run that a person asked for leaves the schedule as it is.
func (s scheduling) AddRun(run record.Run) (record.Run, error) {
	if err := checkRun(run); err != nil {
		return run, err
	}
	run.Due, run.StartedAt, run.EndedAt, run.WindowEnd = schema.Stored(run.Due), schema.Stored(run.StartedAt), schema.Stored(run.EndedAt), schema.Stored(run.WindowEnd)
	failpoint.Reach("before run")
	defer failpoint.Reach("after run")
	id := run.ID
	err := s.file.Update(func(t *dbfile.Tx) error {
		for n := 2; t.Bucket(schema.BucketRuns).Get([]byte(run.ID)) != nil; n++ {
			run.ID = fmt.Sprintf("%s-%d", id, n)
		}
		if err := schema.Put(t, schema.BucketRuns, []byte(run.ID), run); err != nil || run.Manual {
			return err
		}
		return changeSchedule(t, run.Schedule, func(s *record.ScheduleState) { s.Handled = run.Due })
	})
	return run, err
}

// ResolveRun puts the VMs of a run on record, once: those of a run that has VMs already stay as they are.
func (s scheduling) ResolveRun(id string, vms []record.RunVM, warnings []string) error {
	return s.file.Update(func(t *dbfile.Tx) error {
		run, err := schema.Run(t, id)
		if err != nil {
			return err
		}
		if run.Resolved || run.State != record.RunRunning {
			return dbfile.ErrUnchanged
		}
		for _, v := range vms {
			v.RunID = id
			if err := schema.Put(t, schema.BucketRunVMs, schema.RunVMKey(id, v.VM), v); err != nil {
				return err
			}
		}
		run.Resolved, run.Warnings = true, append(run.Warnings, warnings...)
		return schema.Put(t, schema.BucketRuns, []byte(id), run)
	})
}

func checkRun(run record.Run) error {
	if err := record.ValidName("run_id", run.ID); err != nil {
		return err
	}
	return schema.CheckTime("due", run.Due)
}

// UpdateRun changes a run in one transaction. It returns a *NotFoundError if there is none, and a *RunEndedError if it has ended: an end is
// never changed.
func (s scheduling) UpdateRun(id string, change func(*record.Run)) (after record.Run, err error) {
	err = s.file.Update(func(t *dbfile.Tx) error {
		before, err := schema.Run(t, id)
		if err != nil {
			return err
		}
		if before.State != record.RunRunning {
			return &rules.RunEndedError{RunID: id, State: before.State}
		}
		if after, err = cloned(before); err != nil {
			return err
		}
		change(&after)
		if reflect.DeepEqual(before, after) {
			return dbfile.ErrUnchanged
		}
		return schema.Put(t, schema.BucketRuns, []byte(id), after)
	})
	return after, err
}

// UpdateRunVM changes a VM of a run in one transaction. It returns a *NotFoundError if there is none.
func (s scheduling) UpdateRunVM(runID, vm string, change func(*record.RunVM)) (after record.RunVM, err error) {
	key := schema.RunVMKey(runID, vm)
	err = s.file.Update(func(t *dbfile.Tx) error {
		var before record.RunVM
		found, err := schema.Get(t, schema.BucketRunVMs, key, &before)
		if err != nil {
			return err
		}
		if !found {
			return &NotFoundError{Kind: KindRun, Name: string(key)}
		}
		if after, err = cloned(before); err != nil {
			return err
		}
		change(&after)
		if reflect.DeepEqual(before, after) {
			return dbfile.ErrUnchanged
		}
		return schema.Put(t, schema.BucketRunVMs, key, after)
	})
	return after, err
}

// cloned is a deep copy, as a record is read back.
func cloned[T any](v T) (c T, err error) {
	encoded, err := json.Marshal(v)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(encoded, &c)
}

// ForgetRuns removes the ended runs that were due before a time, and says how many.
func (s scheduling) ForgetRuns(before time.Time) (removed int, err error) {
	err = s.file.Update(func(t *dbfile.Tx) error {
		var old []string
		err := t.Bucket(schema.BucketRuns).ForEach(func(k, value []byte) error {
			var run record.Run
			err := schema.Decode(t, schema.BucketRuns, k, value, &run)
			if err == nil && run.State != record.RunRunning && run.Due.Before(before) {
				old = append(old, run.ID)
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, id := range old {
			if err := schema.DeleteRun(t, id); err != nil {
				return err
			}
		}
		if removed = len(old); removed == 0 {
			return dbfile.ErrUnchanged
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// HandleSchedule records up to which due time a schedule was handled.
func (s scheduling) HandleSchedule(id string, due time.Time) error {
	if err := schema.CheckTime("due", due); err != nil {
		return err
	}
	return s.setSchedule(id, func(s *record.ScheduleState) { s.Handled = schema.Stored(due) })
}

// PauseSchedule records that a schedule is paused since a time. One that is paused already keeps its time; a reason that is given replaces
// the earlier one.
func (s scheduling) PauseSchedule(id, reason string, since time.Time) error {
	failpoint.Reach("before schedule pause")
	defer failpoint.Reach("after schedule pause")
	return s.setSchedule(id, func(s *record.ScheduleState) {
		if s.PausedSince.IsZero() {
			s.PausedSince = schema.Stored(since)
		}
		if reason != "" {
			s.Reason = reason
		}
	})
}

// ResumeSchedule records that a schedule is not paused, whether it was or not.
func (s scheduling) ResumeSchedule(id string) error {
	failpoint.Reach("before schedule resume")
	defer failpoint.Reach("after schedule resume")
	return s.setSchedule(id, func(s *record.ScheduleState) { s.PausedSince, s.Reason = time.Time{}, "" })
}

func (s scheduling) setSchedule(id string, change func(*record.ScheduleState)) error {
	if err := record.ValidName("schedule_id", id); err != nil {
		return err
	}
	return s.file.Update(func(t *dbfile.Tx) error { return changeSchedule(t, id, change) })
}

func changeSchedule(t *dbfile.Tx, id string, change func(*record.ScheduleState)) error {
	before := record.ScheduleState{ID: id}
	if _, err := schema.Get(t, schema.BucketSchedules, []byte(id), &before); err != nil {
		return err
	}
	after := before
	change(&after)
	return schema.Put(t, schema.BucketSchedules, []byte(id), after)
}
