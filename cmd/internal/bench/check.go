package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/hub"
	"github.com/sendense/backup-agent/cmd/internal/bench/rawdisk"
)

// limits are the ratios that a run on any machine, however busy, gives about the same: each compares CPU time or bytes of the
// agent with what something else takes for the same in the same moment. A limit lies well above what was measured, and well below
// what the mistake that it is there for would give.
//
// What compares times by the clock is left out. On a machine that does other work the ratio of two starts of one disk moved between 1.3
// and 2.3 within one run, and that of two copies by a half: a limit that never fails there would never fail.
var limits = []struct {
	what  string
	most  float64
	ratio func(context.Context, settings) (float64, error)
}{
	{"CPU time of PID 1 for a start and its undoing, over the same units with nobody asking", 1.7, checkPID1},
	{"bytes that an incremental of scattered changes takes, over what has changed", 1.1, checkGrowth},
}

// check fails when a ratio is over its limit.
func check(ctx context.Context, s settings) error {
	var errs []error
	for _, l := range limits {
		got, err := l.ratio(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", l.what, err)
		}
		fmt.Printf("%.2f, at most %.2f: %s\n", got, l.most, l.what)
		if got > l.most {
			errs = append(errs, fmt.Errorf("%s: %.2f, and at most %.2f is allowed; make bench tells more", l.what, got, l.most))
		}
	}
	return errors.Join(errs...)
}

func checkPID1(ctx context.Context, s settings) (float64, error) {
	took, err := takeBills(ctx, s)
	return took.Ratio(ours+payers[0].told, units1+payers[0].told).Median, err
}

func checkGrowth(ctx context.Context, s settings) (ratio float64, err error) {
	h, err := hub.New(ctx, s.programs, filepath.Join(s.disk, "growth"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	if _, err := h.RestorePoint(ctx, "vm", s.size); err != nil {
		return 0, err
	}
	source := filepath.Join(h.Dir, "changes.raw")
	changed, err := rawdisk.WriteScattered(source, "random", s.size)
	if err != nil {
		return 0, err
	}
	if err := h.Hold(); err != nil {
		return 0, err
	}
	g := growth{source: source, changed: changed, of: map[string][]float64{}}
	_, err = copyThrough(ctx, h, incremental, g.note(ours))
	return figures.SpreadOf(g.of[ours]).Median, err
}
