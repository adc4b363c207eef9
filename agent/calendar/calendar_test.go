package calendar

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/units/spawn"
)

func TestMain(m *testing.M) {
	if err := spawn.Reserve(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func parse(t *testing.T, text, in string) Expression {
	t.Helper()
	e, err := Parse(t.Context(), text, zone(t, in))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestAfter: the next elapses, as systemd.time(7) says, also on the days on which clocks are set.
func TestAfter(t *testing.T) {
	for _, tt := range []struct {
		text, zone, after string
		want              string
	}{
		{"Mon..Fri 22:00", "UTC", "2026-12-04T21:00:00Z", "2026-12-04T22:00:00Z 2026-12-07T22:00:00Z"},
		{"Mon..Fri 22:00", "UTC", "2026-12-04T22:00:00Z", "2026-12-07T22:00:00Z 2026-12-08T22:00:00Z"}, // the time itself does not count
		{"22:00", "Europe/Berlin", "2026-12-04T12:00:00Z", "2026-12-04T21:00:00Z 2026-12-05T21:00:00Z"},
		{"*-02-29 01:00", "UTC", "2026-12-04T12:00:00Z", "2028-02-29T01:00:00Z 2032-02-29T01:00:00Z"},
		{"*-*~1 01:00", "UTC", "2028-02-01T12:00:00Z", "2028-02-29T01:00:00Z 2028-03-31T01:00:00Z"},           // the last day of each month
		{"02:30", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z 2026-03-30T00:30:00Z"},       // there is no 02:30 on the first day
		{"02:30", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z 2026-10-26T01:30:00Z"},       // it is 02:30 twice
		{"02:30", "Europe/Berlin", "2026-10-25T00:45:00Z", "2026-10-26T01:30:00Z 2026-10-27T01:30:00Z"},       // between the two
		{"hourly", "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z 2026-03-29T02:00:00Z"},      // 02:00 becomes 03:00: one run
		{"01:45", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", "2026-04-04T14:45:00Z 2026-04-05T15:15:00Z"}, // set back by half an hour
		{"2020-01-01 00:00", "UTC", "2026-12-04T21:00:00Z", ""},
	} {
		list, err := parse(t, tt.text, tt.zone).After(t.Context(), at(t, tt.after), 2)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
		}
		var got []string
		for _, v := range list {
			got = append(got, v.UTC().Format(time.RFC3339))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s in %s after %s: %s, want %s", tt.text, tt.zone, tt.after, got, tt.want)
		}
	}
}

// TestEveryDayHasOne: a daily expression elapses once on each day, in zones that set their clocks at all hours and by other steps than one
// hour, and one that changed sides of the date line.
func TestEveryDayHasOne(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu", "UTC"} {
		l := zone(t, name)
		for _, hour := range []string{"00:00", "00:30", "01:59", "02:00", "02:30", "03:00", "23:59"} {
			first := time.Date(2017, 1, 1, 0, 0, 0, 0, l).Add(-time.Second)
			list, err := parse(t, hour, name).After(t.Context(), first, 366)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range list {
				if got, want := v.In(l).Format(time.DateOnly), time.Date(2017, 1, 1+i, 12, 0, 0, 0, l).Format(time.DateOnly); got != want {
					t.Errorf("%s in %s: elapse %d is %s, want the day %s", hour, name, i, v.In(l), want)
					break
				}
			}
		}
	}
}

// TestAfterAndLatestAgree: what After lists is increasing and beyond its start, continues from any of its members, and is what Latest finds.
func TestAfterAndLatestAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	texts := []string{"*:0/15", "hourly", "02:30", "Mon,Thu 02:15", "*-*-01,15 01:30", "*:17"}
	for range 40 {
		text := texts[random.IntN(len(texts))]
		e := parse(t, text, []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe"}[random.IntN(3)])
		start := time.Unix(1743200000+random.Int64N(86400*400), 0)
		list, err := e.After(t.Context(), start, 12)
		if err != nil || len(list) != 12 {
			t.Fatalf("%s after %s: %d, %v", text, start, len(list), err)
		}
		for i, v := range list {
			if last := append([]time.Time{start}, list...)[i]; !v.After(last) {
				t.Errorf("%s after %s: %s follows %s", text, start, v, last)
			}
		}
		middle := random.IntN(11)
		rest, err := e.After(t.Context(), list[middle], 11-middle)
		if err != nil || len(rest) != 11-middle || !rest[0].Equal(list[middle+1]) {
			t.Errorf("%s: after %s comes %v, want %s; %v", text, list[middle], rest, list[middle+1], err)
		}
		latest, err := e.Latest(t.Context(), start, list[middle].Add(time.Second))
		if err != nil || !latest.Equal(list[middle]) {
			t.Errorf("%s: the latest from %s to %s is %s, want it; %v", text, start, list[middle], latest, err)
		}
		if none, err := e.Latest(t.Context(), list[middle], list[middle+1].Add(-time.Second)); err != nil || !none.IsZero() {
			t.Errorf("%s: the latest between %s and the next is %s, %v", text, list[middle], none, err)
		}
	}
}

// TestLatestLongAgo: a time long ago is found, whether the expression elapses each minute or once in years.
func TestLatestLongAgo(t *testing.T) {
	now := at(t, "2026-12-01T10:00:30Z")
	for text, want := range map[string]string{
		"*:*": "2026-12-01T10:00:00Z", "*-06-01 00:00": "2026-06-01T00:00:00Z", "2016-02-03 04:05": "2016-02-03T04:05:00Z",
	} {
		got, err := parse(t, text, "UTC").Latest(t.Context(), time.Unix(0, 0), now)
		if err != nil || !got.Equal(at(t, want)) {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
}

// TestParseRefuses: an expression that is none, that names a time zone, or that elapses too often.
func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"soon":                   `want an expression of systemd.time(7) such as "Mon..Fri 22:00"`,
		"":                       "want an expression",
		"--help":                 "want an expression",
		"22:00 Europe/Berlin":    "it names the time zone Europe/Berlin: set time_zone",
		"22:00 UTC":              "it names the time zone UTC",
		"22:00 utc":              "it names the time zone utc",
		"22:00 CET":              "it names the time zone CET",
		"*:*:0/30":               "elapses after 30s: want at least 1m0s between two runs",
		"22:00; rm -rf /":        "want an expression",
		"Mon..Fri 22:00\n23:00":  "want an expression",
		"2026-12-24 25:61 Foo/B": "it names the time zone Foo/B",
	} {
		if _, err := Parse(t.Context(), text, time.UTC); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
	for _, text := range []string{"daily", "Mon", "Mon 22:00", "*-*-* 00:00:00", "quarterly", "Sat *-*-1..7 18:00"} {
		if _, err := Parse(t.Context(), text, time.UTC); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}
