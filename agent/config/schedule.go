package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// minInterval is the shortest time that anything scheduled may be apart.
const minInterval = time.Minute

// What becomes of the backups that run when the window of a schedule ends.
const (
	FinishAfterWindow = "finish"
	CancelAfterWindow = "cancel"
)

// The order in which a run starts the backups.
const (
	OldestFirst = "oldest"
	ByName      = "name"
)

// Runs is about the records of scheduled runs.
type Runs struct {
	Keep Age `toml:"keep"` // age of the runs that stay on record
}

// A Schedule says when the VMs of groups are backed up, and how.
type Schedule struct {
	ID          string   `toml:"id"`           // 1 to 64 of A-Z a-z 0-9 . _ -
	Groups      []string `toml:"groups"`       // ids of groups
	Calendar    string   `toml:"calendar"`     // expression of systemd.time(7), without a time zone; in the zone below
	TimeZone    string   `toml:"time_zone"`    // "" = the host's
	Window      Duration `toml:"window"`       // no backup starts later than this after the due time; 0 = no end
	AfterWindow string   `toml:"after_window"` // FinishAfterWindow or CancelAfterWindow; "" = FinishAfterWindow
	Spread      Duration `toml:"spread"`       // the run begins up to this later, by a random time that stays the same for each due time
	SkipMissed  bool     `toml:"skip_missed"`  // a run that was missed is not made up
	Blackout    []string `toml:"blackout"`     // days without runs: "2026-12-24", or "2026-12-24..2027-01-01"

	Type       string   `toml:"type"`        // full, incremental or auto; "" = auto
	FullEvery  Age      `toml:"full_every"`  // a full backup if the last one is older; 0 = no such rule
	FullAfter  int      `toml:"full_after"`  // a full backup after so many incrementals; 0 = no such rule
	Repository string   `toml:"repository"`  // "" = default_repository
	Policy     string   `toml:"policy"`      // "" = that of the repository
	Parallel   int      `toml:"parallel"`    // backups of a run at the same time; 0 = 4
	Order      string   `toml:"order"`       // OldestFirst or ByName; "" = OldestFirst
	Retries    *int     `toml:"retries"`     // further tries for a VM; nil = 2
	RetryWait  Duration `toml:"retry_wait"`  // before the first further try, doubled for each one after it; 0 = 10m
	RateLimits []string `toml:"rate_limits"` // of the backups that start at these times of day: "07:00-19:00 50MiB"; the first that fits counts
}

// A rate limits the exports of the backups that start between two times of day.
type rate struct {
	from, to string // "HH:MM" in the zone of the schedule; to is exclusive, and earlier than from if midnight is between them
	limit    Size
}

var rateForm = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9] \S+$`)

func parseRate(text string) (r rate, err error) {
	if !rateForm.MatchString(text) {
		return r, errRate
	}
	times, limit, _ := strings.Cut(text, " ")
	r.from, r.to, _ = strings.Cut(times, "-")
	if err := r.limit.UnmarshalText([]byte(limit)); err != nil {
		return r, err
	}
	if r.limit.Bytes() < minRateLimit {
		return r, fmt.Errorf("%s: want at least %s", r.limit, SizeOf(minRateLimit))
	}
	return r, nil
}

var errRate = errors.New(`want times of day and a limit such as "07:00-19:00 50MiB"`)

// Defaults of a schedule.
const (
	defaultParallel  = 4
	defaultRetries   = 2
	defaultRetryWait = 10 * time.Minute
)

// MaxParallel is how many backups of a run are in progress at the same time.
func (s Schedule) MaxParallel() int {
	if s.Parallel == 0 {
		return defaultParallel
	}
	return s.Parallel
}

// MaxRetries is how many further tries a VM gets.
func (s Schedule) MaxRetries() int {
	if s.Retries == nil {
		return defaultRetries
	}
	return *s.Retries
}

// FirstRetry is how long a run waits before the first further try of a VM.
func (s Schedule) FirstRetry() time.Duration {
	if s.RetryWait.Std() == 0 {
		return defaultRetryWait
	}
	return s.RetryWait.Std()
}

// Zone is the time zone of a schedule.
func (s Schedule) Zone() (*time.Location, error) {
	if s.TimeZone == "" {
		return time.Local, nil
	}
	return time.LoadLocation(s.TimeZone)
}

// A Days is a range of calendar days, as "2006-01-02". Both ends belong to it.
type Days struct{ First, Last string }

// BlackoutDays are the days without runs. A list that is not valid was refused before.
func (s Schedule) BlackoutDays() (list []Days) {
	for _, text := range s.Blackout {
		if d, err := parseDays(text); err == nil {
			list = append(list, d)
		}
	}
	return list
}

func parseDays(text string) (Days, error) {
	first, last, isRange := strings.Cut(text, "..")
	if !isRange {
		last = first
	}
	for _, day := range []string{first, last} {
		if _, err := time.Parse(time.DateOnly, day); err != nil {
			return Days{}, err
		}
	}
	if last < first {
		return Days{}, fmt.Errorf("%s is before %s", last, first)
	}
	return Days{first, last}, nil
}

// RateLimit is the limit of a backup that starts at a time, in bytes per second and export; 0 = none.
func (s Schedule) RateLimit(at time.Time) int64 {
	now := at.Format(timeOfDay)
	for _, text := range s.RateLimits {
		r, err := parseRate(text)
		inside := r.from <= now && now < r.to
		if r.to <= r.from { // midnight is between them
			inside = r.from <= now || now < r.to
		}
		if inside && err == nil {
			return r.limit.Bytes()
		}
	}
	return 0
}

func (c *Config) validateSchedules(p *problems) {
	ids := map[string]bool{}
	for i, s := range c.Schedules {
		key := p.id("schedule", i, s.ID, ids)
		p.check(len(s.Groups) > 0, key+": groups", "is missing: name the groups whose VMs are backed up")
		for _, id := range s.Groups {
			_, known := c.Group(id)
			p.check(known, key+": groups", "%q: no [[group]] has this id: add it, or name another", id)
		}
		s.validateTimes(p, key)
		s.validateBackups(p, key, c)
	}
	p.check(c.Runs.Keep.Std() >= dayHours, "runs.keep", `%s: want at least "1d"`, c.Runs.Keep)
}

func (s Schedule) validateTimes(p *problems, key string) {
	p.check(s.Calendar != "", key+": calendar", `is missing: set an expression of systemd.time(7) such as "Mon..Fri 22:00"`)
	_, err := s.Zone()
	p.check(err == nil, key+": time_zone", `%q: want the name of a time zone such as "Europe/Berlin", or nothing for the host's`, s.TimeZone)
	p.check(s.Window.Std() == 0 || s.Window.Std() >= minInterval, key+": window", `%s: want "0s" for no end, or at least "1m"`, s.Window)
	p.check(s.Window.Std() == 0 || s.Spread.Std() < s.Window.Std(), key+": spread", "%s is not less than window (%s): lower it", s.Spread, s.Window)
	if s.AfterWindow != "" {
		p.oneOf(key+": after_window", s.AfterWindow, FinishAfterWindow, CancelAfterWindow)
	}
	for _, text := range s.Blackout {
		_, err := parseDays(text)
		p.check(err == nil, key+": blackout", `%q: want a day such as "2026-12-24", or days such as "2026-12-24..2027-01-01"`, text)
	}
	for _, text := range s.RateLimits {
		_, err := parseRate(text)
		p.check(err == nil, key+": rate_limits", "%q: %v", text, err)
	}
}

func (s Schedule) validateBackups(p *problems, key string, c *Config) {
	if s.Type != "" {
		p.oneOf(key+": type", s.Type, "auto", "full", "incremental")
	}
	rules := s.FullEvery.Std() > 0 || s.FullAfter > 0
	p.check(!rules || s.Type == "" || s.Type == "auto", key+": type", "%q: full_every and full_after need type auto", s.Type)
	p.check(s.FullEvery.Std() == 0 || s.FullEvery.Std() >= time.Hour, key+": full_every", `%s: want "0s" for never, or at least "1h"`, s.FullEvery)
	p.check(s.FullAfter >= 0, key+": full_after", "%d: want 0 for no such rule, or more", s.FullAfter)
	p.check(s.Parallel >= 0 && s.Parallel <= 1000, key+": parallel", "%d: want 1 to 1000, or 0 for %d", s.Parallel, defaultParallel)
	p.check(s.MaxRetries() >= 0 && s.MaxRetries() <= 20, key+": retries", "%d: want 0 to 20", s.MaxRetries())
	p.check(s.FirstRetry() >= time.Second, key+": retry_wait", `%s: want at least "1s", or "0s" for %s`, s.RetryWait, defaultRetryWait)
	if s.Order != "" {
		p.oneOf(key+": order", s.Order, OldestFirst, ByName)
	}
	known := slices.ContainsFunc(c.Repositories, func(r Repository) bool { return r.ID == s.Repository })
	p.check(s.Repository == "" || known, key+": repository", "%q: no [[repository]] has this id: add it, or name another", s.Repository)
	p.check(s.Repository != "" || c.DefaultRepository != "", key+": repository", "is missing, and there is no default_repository: set one of the two")
	known = slices.ContainsFunc(c.Policies, func(l Policy) bool { return l.ID == s.Policy })
	p.check(s.Policy == "" || known, key+": policy", "%q: no [[policy]] has this id: add it, or name another", s.Policy)
}

// Schedule returns the schedule of an id, and whether there is one.
func (c *Config) Schedule(id string) (Schedule, bool) {
	i := slices.IndexFunc(c.Schedules, func(s Schedule) bool { return s.ID == id })
	if i < 0 {
		return Schedule{}, false
	}
	return c.Schedules[i], true
}
