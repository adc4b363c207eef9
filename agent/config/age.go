package config

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"time"
)

const dayHours = 24 * time.Hour

// An Age is the age of restore points, which TOML writes as "30d", "2w" or, as a Duration, "36h". A day has 24
// hours, also when the clocks change. It is never negative.
type Age struct{ d time.Duration }

// AgeOf makes an Age of a time.Duration.
func AgeOf(d time.Duration) Age { return Age{d} }

// Std is the age as package time knows it.
func (a Age) Std() time.Duration { return a.d }

func (a Age) String() string {
	if a.d >= dayHours && a.d%dayHours == 0 {
		return strconv.FormatInt(int64(a.d/dayHours), 10) + "d"
	}
	return a.d.String()
}

// MarshalText writes the age as UnmarshalText reads it.
func (a Age) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

var (
	errAge = errors.New(`want an age such as "36h", "30d" or "8w"`)
	inDays = regexp.MustCompile(`^([0-9]{1,6})(d|w)$`)
)

// UnmarshalText reads a number of days or weeks, or a Duration.
func (a *Age) UnmarshalText(text []byte) error {
	if m := inDays.FindSubmatch(text); m != nil {
		n, _ := strconv.ParseInt(string(m[1]), 10, 64)
		if string(m[2]) == "w" {
			n *= 7
		}
		if n > math.MaxInt64/int64(dayHours) {
			return errAge
		}
		a.d = time.Duration(n) * dayHours
		return nil
	}
	var d Duration
	if d.UnmarshalText(text) != nil {
		return errAge
	}
	a.d = d.Std()
	return nil
}
