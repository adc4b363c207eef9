package human

import (
	"fmt"
	"time"
)

// Time shows a moment in the local time zone; nothing for none.
func Time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

// ShortTime is humanTime for where there is little room.
func ShortTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}

// Dated is shortTime of a date that may lie in the future.
func Dated(t time.Time, future bool) string {
	if future {
		return ShortTime(t) + " (in the future!)"
	}
	return ShortTime(t)
}

// Duration shows a duration in its two largest units.
func Duration(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}
