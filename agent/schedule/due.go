package schedule

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/calendar"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
)

const (
	// backTolerance is by how much a clock that is set back delays the next run at most. If the due time that was handled last is further
	// ahead, the clock was wrong then, and the schedule begins again from now.
	backTolerance = 3 * time.Hour

	// onTime is how late a run may begin without being one that was missed.
	onTime = 5 * time.Minute
)

// A timetable says when the runs of a schedule are due. It reads no clock and no record.
type timetable struct {
	config config.Schedule
	zone   *time.Location
	when   calendar.Expression
}

func newTimetable(ctx context.Context, s config.Schedule) (timetable, error) {
	zone, err := s.Zone()
	if err != nil {
		return timetable{}, err
	}
	when, err := calendar.Parse(ctx, s.Calendar, zone)
	return timetable{config: s, zone: zone, when: when}, err
}

// A due is a due time, and when its run begins: later by the spread.
type due struct{ at, begin time.Time }

// next is the first due time after those that were handled; the zero due if there is none.
func (t timetable) next(ctx context.Context, s record.ScheduleState) (due, error) {
	list, err := t.when.After(ctx, s.Handled, 1)
	if err != nil || len(list) == 0 {
		return due{}, err
	}
	return t.due(list[0]), nil
}

// latest is the last due time that has passed and was not handled. Earlier ones are missed for good: one run makes up for all of them.
func (t timetable) latest(ctx context.Context, s record.ScheduleState, now time.Time) (due, error) {
	at, err := t.when.Latest(ctx, s.Handled, now)
	if err != nil || at.IsZero() {
		return due{}, err
	}
	return t.due(at), nil
}

// upcoming returns when the next n runs begin.
func (t timetable) upcoming(ctx context.Context, state record.ScheduleState, n int, now time.Time) (list []time.Time, err error) {
	more := 0
	if len(t.config.Blackout) > 0 {
		more = 400 // more than there are days in a year of blackouts
	}
	ahead, err := t.when.After(ctx, now, n+more)
	for _, at := range ahead {
		if d := t.due(at); len(list) < n && t.judge(d, state, "", d.begin) == "" {
			list = append(list, d.begin)
		}
	}
	return list, err
}

func (t timetable) due(at time.Time) due { return due{at: at, begin: at.Add(t.delay(at))} }

// delay is the spread of a due time: random, and the same each time that it is asked for.
func (t timetable) delay(at time.Time) time.Duration {
	spread := t.config.Spread.Std()
	if spread == 0 {
		return 0
	}
	seed := fnv.New64a()
	_, _ = seed.Write([]byte(record.RunID(t.config.ID, at)))
	return time.Duration(rand.New(rand.NewPCG(seed.Sum64(), 0)).Int64N(int64(spread))).Truncate(time.Second)
}

// windowEnd is when the window of a due time ends; the zero time if it does not.
func (t timetable) windowEnd(at time.Time) time.Time {
	if t.config.Window.Std() == 0 {
		return time.Time{}
	}
	return at.Add(t.config.Window.Std())
}

// judge says why a due time brings no run; "" if it does. running is the id of the run of the schedule that is in progress, if one is.
func (t timetable) judge(d due, s record.ScheduleState, running string, now time.Time) string {
	day := d.at.In(t.zone).Format(time.DateOnly)
	end := t.windowEnd(d.at)
	late := now.Sub(d.begin) > onTime
	switch {
	case !s.PausedSince.IsZero():
		return "the schedule is paused"
	case slices.ContainsFunc(t.config.BlackoutDays(), func(b config.Days) bool { return b.First <= day && day <= b.Last }):
		return day + " is a blackout day"
	case running != "":
		return "run " + running + " is still in progress"
	case late && t.config.SkipMissed:
		return "it was missed: the agent did not run at that time"
	case !end.IsZero() && !now.Before(end):
		return "it was missed, and its window has ended"
	}
	return ""
}
