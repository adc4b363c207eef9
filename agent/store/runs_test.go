package store

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
)

func runOf(due time.Time) record.Run {
	return record.Run{ID: record.RunID("nightly", due), Schedule: "nightly", Groups: []string{"all"}, Due: due, State: record.RunRunning, StartedAt: due}
}

// TestRuns: a run is added with what its schedule was handled up to, resolved once, changed until it has ended, and forgotten when it is old.
func TestRuns(t *testing.T) {
	s := openNew(t)
	must(t, s.HandleSchedule("nightly", start))
	run, err := s.AddRun(runOf(start.Add(time.Hour)))
	must(t, err)
	again, err := s.AddRun(runOf(start.Add(time.Hour)))
	if err != nil || again.ID != run.ID+"-2" {
		t.Errorf("the second one is %q, %v", again.ID, err)
	}
	manual := runOf(start.Add(9 * time.Hour))
	manual.Manual = true
	_, err = s.AddRun(manual)
	must(t, err)
	if state, found, err := s.Schedule("nightly"); err != nil || !found || !state.Handled.Equal(start.Add(time.Hour)) {
		t.Errorf("%+v, %v, %v", state, found, err)
	}
	vms := []record.RunVM{{VM: "a/b", State: record.RunVMWaiting, Place: 1}, {VM: "a", State: record.RunVMWaiting}}
	must(t, s.ResolveRun(run.ID, vms, []string{"w"}))
	must(t, s.ResolveRun(run.ID, nil, nil)) // another agent was faster
	got, list, err := s.Run(run.ID)
	if err != nil || !got.Resolved || len(got.Warnings) != 1 || len(list) != 2 || list[0].VM != "a" || list[1].RunID != run.ID {
		t.Errorf("%+v, %+v, %v", got, list, err)
	}
	if _, others, err := s.Run(again.ID); err != nil || len(others) != 0 { // its id begins as that of the first one
		t.Errorf("%+v, %v", others, err)
	}
	v, err := s.UpdateRunVM(run.ID, "a/b", func(v *record.RunVM) { v.State = record.RunVMCompleted })
	if err != nil || v.State != record.RunVMCompleted || v.Place != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	var missing *NotFoundError
	if _, err := s.UpdateRunVM(run.ID, "b", func(*record.RunVM) {}); !errors.As(err, &missing) {
		t.Errorf("a VM that is not in the run: %v", err)
	}
	if _, _, err := s.Run("nightly"); !errors.As(err, &missing) || missing.Kind != KindRun {
		t.Errorf("a run that is not there: %v", err)
	}
	_, err = s.UpdateRun(run.ID, func(r *record.Run) { r.State, r.EndedAt = record.RunCompleted, start.Add(2*time.Hour) })
	must(t, err)
	var ended *RunEndedError
	if _, err := s.UpdateRun(run.ID, func(r *record.Run) { r.Canceling = true }); !errors.As(err, &ended) {
		t.Errorf("a change after the end: %v", err)
	}
	ids := func(q RunQuery) (list []string) {
		runs, err := s.Runs(q)
		must(t, err)
		for _, r := range runs {
			list = append(list, r.ID)
		}
		return list
	}
	for _, tt := range []struct {
		query RunQuery
		want  []string
	}{
		{RunQuery{}, []string{manual.ID, run.ID, again.ID}},
		{RunQuery{Active: true, Limit: 1}, []string{manual.ID}},
		{RunQuery{Schedule: "other"}, nil},
		{RunQuery{Since: start.Add(2 * time.Hour)}, []string{manual.ID}},
		{RunQuery{Until: manual.Due}, []string{run.ID, again.ID}},
	} {
		if diff := cmp.Diff(tt.want, ids(tt.query)); diff != "" {
			t.Errorf("%+v: %s", tt.query, diff)
		}
	}
	if n, err := s.ForgetRuns(start.Add(24 * time.Hour)); err != nil || n != 1 { // the others have not ended
		t.Errorf("%d forgotten, %v", n, err)
	}
	if diff := cmp.Diff([]string{manual.ID, again.ID}, ids(RunQuery{})); diff != "" {
		t.Error(diff)
	}
	must(t, s.Check(t.Context())) // no VM of it is left
}

// TestSchedulePause: a pause keeps its time and its last reason, and leaves the rest of the schedule alone.
func TestSchedulePause(t *testing.T) {
	s := openNew(t)
	must(t, s.HandleSchedule("nightly", start))
	must(t, s.PauseSchedule("nightly", "new disks", start))
	must(t, s.PauseSchedule("nightly", "", start.Add(time.Hour)))
	state, _, err := s.Schedule("nightly")
	if err != nil || !state.PausedSince.Equal(start) || state.Reason != "new disks" || !state.Handled.Equal(start) {
		t.Errorf("%+v, %v", state, err)
	}
	must(t, s.ResumeSchedule("nightly"))
	if state, _, err := s.Schedule("nightly"); err != nil || !state.PausedSince.IsZero() || state.Reason != "" || !state.Handled.Equal(start) {
		t.Errorf("%+v, %v", state, err)
	}
}
