package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A contender is one of several ways to the same end. run does it once and says what of that counts; what it needs before and
// cleans up after does not.
type contender struct {
	name string
	run  func(context.Context) (time.Duration, error)
}

// times are what each contender took, in the order of the rounds.
type times map[string][]time.Duration

// takeTurns runs every contender once, then every one again: what makes the machine slower for a while meets all of them. Before
// the first round that counts there is one that does not.
func takeTurns(ctx context.Context, rounds int, all []contender) (times, error) {
	t := times{}
	for round := range rounds + 1 {
		for _, c := range all {
			took, err := c.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 {
				t[c.name] = append(t[c.name], took)
			}
		}
	}
	return t, nil
}

// spread is what becomes of several figures.
type spread struct{ median, least, most float64 }

func spreadOf(figures []float64) spread {
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	if n == 0 {
		return spread{}
	}
	return spread{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}
}

// of is the spread of what a contender took, in milliseconds.
func (t times) of(name string) spread {
	var figures []float64
	for _, d := range t[name] {
		figures = append(figures, milliseconds(d))
	}
	return spreadOf(figures)
}

// ratio is the spread of a contender's time over another's, round by round: never that of two medians.
func (t times) ratio(name, over string) spread {
	var figures []float64
	for i, d := range t[name] {
		figures = append(figures, d.Seconds()/t[over][i].Seconds())
	}
	return spreadOf(figures)
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func (s spread) String() string {
	return fmt.Sprintf("%s (%s-%s)", figure(s.median), figure(s.least), figure(s.most))
}

// figure has three digits that matter.
func figure(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}
