package config

import (
	"fmt"
	"time"
	_ "time/tzdata" // time zones, for hosts without tzdata
)

// Prune is about applying the policies.
type Prune struct {
	At       string `toml:"at"`        // time of day, "HH:MM", of the daily prune; "" = none
	TimeZone string `toml:"time_zone"` // of the days, weeks and months that they count; "" = the host's

	// HoldAbovePercent is a share of the restore points of one VM in one repository. A daily prune that would remove more is held
	// until a person confirms it. 100 = it is never held.
	HoldAbovePercent int `toml:"hold_above_percent"`
}

// What happens to an expired restore point that others are based on.
const (
	KeepMiddle  = "keep"
	MergeMiddle = "merge"
)

// A Policy says which restore points are kept, by the rules of restic. Counts are 0 for none and -1 for all.
type Policy struct {
	ID            string `toml:"id"` // 1 to 64 of A-Z a-z 0-9 . _ -; the policy_id of a request
	KeepLast      int    `toml:"keep_last"`
	KeepHourly    int    `toml:"keep_hourly"`
	KeepDaily     int    `toml:"keep_daily"`
	KeepWeekly    int    `toml:"keep_weekly"`
	KeepMonthly   int    `toml:"keep_monthly"`
	KeepYearly    int    `toml:"keep_yearly"`
	KeepWithin    Age    `toml:"keep_within"`    // of the newest point; 0 = no such rule
	MinAge        Age    `toml:"min_age"`        // younger ones are never removed
	ExpiredMiddle string `toml:"expired_middle"` // KeepMiddle or MergeMiddle; "" = KeepMiddle
	MaxChain      int    `toml:"max_chain"`      // restore points in a chain; 0 = any number
}

// Merges reports whether an expired restore point is merged into those that are based on it.
func (p Policy) Merges() bool { return p.ExpiredMiddle == MergeMiddle }

func (p Policy) counts() []struct {
	key   string
	count int
} {
	return []struct {
		key   string
		count int
	}{
		{"keep_last", p.KeepLast},
		{"keep_hourly", p.KeepHourly},
		{"keep_daily", p.KeepDaily},
		{"keep_weekly", p.KeepWeekly},
		{"keep_monthly", p.KeepMonthly},
		{"keep_yearly", p.KeepYearly},
	}
}

// Zone is the time zone in which policies count.
func (p Prune) Zone() (*time.Location, error) {
	if p.TimeZone == "" {
		return time.Local, nil
	}
	return time.LoadLocation(p.TimeZone)
}

// timeOfDay is the layout of Prune.At.
const timeOfDay = "15:04"

// Daily is the hour and minute of Prune.At, if there is one.
func (p Prune) Daily() (hour, minute int, ok bool) {
	t, err := time.Parse(timeOfDay, p.At)
	return t.Hour(), t.Minute(), err == nil
}

func (p Prune) validate(problems *problems) {
	_, _, ok := p.Daily()
	problems.check(p.At == "" || ok, "prune.at", `%q: want a time of day such as "03:30", or nothing`, p.At)
	problems.check(p.HoldAbovePercent >= 0 && p.HoldAbovePercent <= 100, "prune.hold_above_percent", "%d: want 0 to 100", p.HoldAbovePercent)
	_, err := p.Zone()
	problems.check(err == nil, "prune.time_zone", `%q: want the name of a time zone such as "Europe/Berlin", or nothing for the host's`, p.TimeZone)
}

func (c *Config) validatePolicies(p *problems) {
	ids := map[string]bool{}
	for i, policy := range c.Policies {
		key := fmt.Sprintf("policy %q", policy.ID)
		if !safeID.MatchString(policy.ID) {
			key = fmt.Sprintf("policy number %d", i+1)
			p.add(key+": id", "%q: want 1 to 64 letters, digits, dots, underscores or dashes, and no dot or dash first", policy.ID)
		}
		p.check(!ids[policy.ID], key+": id", "is listed twice: give each policy its own id")
		ids[policy.ID] = true
		policy.validate(p, key)
	}
	for _, r := range c.Repositories {
		p.check(r.Policy == "" || ids[r.Policy], fmt.Sprintf("repository %q: policy", r.ID),
			"%q: no [[policy]] has this id: add it, or name another", r.Policy)
	}
}

func (p Policy) validate(problems *problems, key string) {
	keeps := p.KeepWithin.Std() > 0
	for _, c := range p.counts() {
		problems.check(c.count >= -1 && c.count <= 100_000, key+": "+c.key, "%d: want 0 for none, -1 for all, or 1 to 100000", c.count)
		keeps = keeps || c.count != 0
	}
	problems.check(keeps, key, "keeps nothing: give it at least one of keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, "+
		"keep_yearly and keep_within; a backup without a policy is never pruned")
	problems.check(p.MaxChain == 0 || p.MaxChain >= 2 && p.MaxChain <= 1000, key+": max_chain", "%d: want 0 for no limit, or 2 to 1000", p.MaxChain)
	if p.ExpiredMiddle != "" {
		problems.oneOf(key+": expired_middle", p.ExpiredMiddle, KeepMiddle, MergeMiddle)
	}
}
