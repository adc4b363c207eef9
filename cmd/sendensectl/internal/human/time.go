package human

import (
	"fmt"
	"time"
)

// Time formats a time in the local time zone; "" if it is zero.
func Time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

// ShortTime is Time without seconds and zone.
func ShortTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}

// Dated is ShortTime, with a mark if the date lies in the future.
func Dated(t time.Time, future bool) string {
	if future {
		return ShortTime(t) + " (in the future!)"
	}
	return ShortTime(t)
}

// Duration formats a duration in its two largest units.
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
