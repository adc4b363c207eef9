// Package calendar says when an expression of systemd.time(7) elapses in a time zone. systemd itself reads the expressions, with
// systemd-analyze(1), so each means what it means in a timer. The days on which clocks are set forward or back are the exception: systemd
// drops a time that does not exist on such a day, and here no day is left out.
package calendar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/units/spawn"
)

const (
	program = "systemd-analyze" // part of systemd 252, which the agent needs anyway
	timeout = 10 * time.Second  // of one call, which takes about 12 ms
	layout  = time.DateTime
)

// MinInterval is the shortest time between two elapses of an Expression that Parse accepts.
const MinInterval = time.Minute

// An Expression is an expression of systemd.time(7) in a time zone. Parse makes one.
type Expression struct {
	text string
	zone *time.Location
}

func (e Expression) String() string { return e.text }

// Parse checks an expression. It may not name a time zone, and must not elapse more often than every MinInterval. One that never elapses
// again is valid: it may name a year that has passed.
func Parse(ctx context.Context, text string, zone *time.Location) (Expression, error) {
	e := Expression{text: text, zone: zone}
	if fields := strings.Fields(text); len(fields) > 1 && zoned(fields[len(fields)-1]) {
		return e, fmt.Errorf("calendar %q: it names the time zone %s: set time_zone", text, fields[len(fields)-1])
	}
	walls, err := e.walls(ctx, time.Now().UTC(), 20)
	for i := 1; i < len(walls); i++ {
		if apart := walls[i].Sub(walls[i-1]); apart < MinInterval {
			return e, fmt.Errorf("calendar %q elapses after %s: want at least %s between two runs", text, apart, MinInterval)
		}
	}
	return e, err
}

// zoned reports whether the last word of an expression is a time zone. The other words have digits, or are days of the week or shorthands.
func zoned(word string) bool {
	if strings.EqualFold(word, "UTC") || strings.Contains(word, "/") && strings.ContainsFunc(word, isLetter) {
		return true
	}
	_, err := time.LoadLocation(word)
	return err == nil
}

func isLetter(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' }

// After returns the first n times at which the expression elapses after t, in order; fewer if it elapses less often from then on.
func (e Expression) After(ctx context.Context, t time.Time, n int) ([]time.Time, error) {
	from, slack := e.wall(t), e.slack(t)
	walls, err := e.walls(ctx, from.Add(-slack), n+int(slack/MinInterval)+1)
	if err != nil {
		return nil, err
	}
	var list []time.Time
	for _, w := range walls {
		if at := e.instant(w); at.After(t) {
			list = append(list, at)
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	list = slices.CompactFunc(list, time.Time.Equal) // a time that does not exist may become the next one
	return list[:min(n, len(list))], nil
}

// Latest returns the last time at which the expression elapsed after one time, and not after another; the zero time if there is none.
func (e Expression) Latest(ctx context.Context, after, until time.Time) (last time.Time, err error) {
	for _, back := range []time.Duration{time.Hour, 24 * time.Hour, 400 * 24 * time.Hour, 0} {
		from := until.Add(-back)
		if back == 0 || from.Before(after) {
			from, back = after, 0
		}
		if last, err = e.latest(ctx, from, until); err != nil || !last.IsZero() || back == 0 {
			return last, err
		}
	}
	return last, nil
}

// batch is how many elapses are asked for at once.
const batch = 1000

func (e Expression) latest(ctx context.Context, after, until time.Time) (last time.Time, err error) {
	for {
		list, err := e.After(ctx, after, batch)
		if err != nil {
			return last, err
		}
		for _, at := range list {
			if at.After(until) {
				return last, nil
			}
			last = at
		}
		if len(list) < batch {
			return last, nil
		}
		after = last
	}
}

// wall is what a clock on the wall of the zone shows, as if it were UTC.
func (e Expression) wall(t time.Time) time.Time {
	_, offset := t.In(e.zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// instant is when the clock on the wall shows w: the first time if it does twice. A time that it never shows, because it is set forward
// over it, is the time by as much later.
func (e Expression) instant(w time.Time) time.Time {
	before, after := e.offset(w.Add(-24*time.Hour)), e.offset(w.Add(24*time.Hour))
	first, second := w.Add(-before), w.Add(-after)
	if !e.wall(first).Equal(w) && e.wall(second).Equal(w) {
		return second
	}
	return first
}

func (e Expression) offset(t time.Time) time.Duration {
	_, offset := t.In(e.zone).Zone()
	return time.Duration(offset) * time.Second
}

// slack is by how much the clock on the wall is set within a day of t.
func (e Expression) slack(t time.Time) time.Duration {
	return (e.offset(t.Add(24*time.Hour)) - e.offset(t.Add(-24*time.Hour))).Abs()
}

var elapse = regexp.MustCompile(`(?m)^\s*(?:Next elapse|Iter[^:]*): (?:\S+ )?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC$`)

// walls returns the first n times after t at which the expression elapses in UTC.
func (e Expression) walls(ctx context.Context, t time.Time, n int) (list []time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.Command(program, "calendar", "--base-time="+t.UTC().Format(layout)+" UTC", "--iterations="+strconv.Itoa(n), "--", e.text)
	cmd.Env = []string{"TZ=UTC", "LC_ALL=C", "SYSTEMD_COLORS=0", "PATH=/usr/bin:/bin"}
	out, err := spawn.Output(ctx, cmd)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf(`calendar %q: want an expression of systemd.time(7) such as "Mon..Fri 22:00"; systemd-analyze says: %s`,
			e.text, bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return nil, fmt.Errorf("calendar %q: %w", e.text, err)
	}
	for _, m := range elapse.FindAllSubmatch(out, -1) {
		at, err := time.Parse(layout, string(m[1]))
		if err != nil {
			return nil, fmt.Errorf("calendar %q: systemd-analyze: %w", e.text, err)
		}
		list = append(list, at)
	}
	return list, nil
}
