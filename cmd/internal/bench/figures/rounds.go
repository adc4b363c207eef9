// Package figures makes figures of times: contenders take turns, ratios are taken within a round, and a report shows medians with
// the least and the most. It knows nothing of what is measured.
package figures

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A Contender is one of several ways to do the same. Run does it once and returns the time that counts, without preparation and
// cleanup.
type Contender struct {
	Name string
	Run  func(context.Context) (time.Duration, error)
}

// Times are the times of each contender, in the order of the rounds.
type Times map[string][]time.Duration

// TakeTurns runs every contender once, then every one again, so that a slow period of the machine affects all of them. The first round
// does not count.
func TakeTurns(ctx context.Context, rounds int, all []Contender) (Times, error) {
	t := Times{}
	for round := range rounds + 1 {
		for _, c := range all {
			took, err := c.Run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			if round > 0 {
				t[c.Name] = append(t[c.Name], took)
			}
		}
	}
	return t, nil
}

// Spread summarizes several figures.
type Spread struct{ Median, least, most float64 }

// SpreadOf is the median, the least and the most of figures.
func SpreadOf(figures []float64) Spread {
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	if n == 0 {
		return Spread{}
	}
	return Spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, least: sorted[0], most: sorted[n-1]}
}

// Of is the spread of the times of a contender, in milliseconds.
func (t Times) Of(name string) Spread {
	var figures []float64
	for _, d := range t[name] {
		figures = append(figures, Milliseconds(d))
	}
	return SpreadOf(figures)
}

// Ratio is the spread of a contender's time over another's, round by round: never that of two medians.
func (t Times) Ratio(name, over string) Spread {
	var figures []float64
	for i, d := range t[name] {
		figures = append(figures, d.Seconds()/t[over][i].Seconds())
	}
	return SpreadOf(figures)
}

// Milliseconds is a time as a figure.
func Milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func (s Spread) String() string {
	return fmt.Sprintf("%s (%s-%s)", Figure(s.Median), Figure(s.least), Figure(s.most))
}

// Figure formats a figure with three significant digits.
func Figure(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}
