package config

import (
	"errors"
	"time"
)

// A Duration is a time.Duration that TOML writes as "10m" or "1h30m". It is never negative. It is a struct so that a
// bare number, which would be nanoseconds, is refused.
type Duration struct{ d time.Duration }

// DurationOf makes a Duration of a time.Duration.
func DurationOf(d time.Duration) Duration { return Duration{d} }

// Std is the duration as package time knows it.
func (d Duration) Std() time.Duration { return d.d }

func (d Duration) String() string { return d.d.String() }

// MarshalText writes the duration as UnmarshalText reads it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

var errDuration = errors.New(`want a duration such as "30s", "10m" or "2h"`)

// UnmarshalText reads a duration as time.ParseDuration does, and refuses a negative one.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed < 0 {
		return errDuration
	}
	d.d = parsed
	return nil
}
