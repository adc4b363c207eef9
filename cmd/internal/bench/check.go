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

// limits are ratios that are about the same on every machine, even a busy one: each compares CPU time or bytes of the agent with those
// of something else for the same work at the same time. A limit is well above the measured ratio, and well below the ratio that
// the mistake it is to find would cause.
//
// Ratios of elapsed times are left out. On a busy machine the ratio of two starts of one disk varied between 1.3 and 2.3 within one run,
// and that of two copies by a half: a limit that never fails there could never fail.
var limits = []struct {
	what  string
	most  float64
	ratio func(context.Context, settings) (float64, error)
}{
	{"CPU time of PID 1 for a start and its removal, over that for the same units without the agent", 1.7, checkPID1},
	{"size of an incremental of scattered changes, over the size of the changes", 1.1, checkGrowth},
	{"size of a merged image, over its blocks with data", 1.02, checkMergeSize},
	{"bytes that a merge reads and writes, over those of qemu-img convert", 1.1, checkMergeBytes},
}

// check fails if a ratio exceeds its limit.
func check(ctx context.Context, s settings) error {
	var errs []error
	for _, l := range limits {
		got, err := l.ratio(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", l.what, err)
		}
		fmt.Printf("%.2f, limit %.2f: %s\n", got, l.most, l.what)
		if got > l.most {
			errs = append(errs, fmt.Errorf("%s: %.2f, the limit is %.2f; make bench shows more", l.what, got, l.most))
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

func checkMergeSize(ctx context.Context, s settings) (float64, error) {
	all, err := takeMerges(ctx, s)
	if err != nil {
		return 0, err
	}
	return all[0].kept, nil
}

func checkMergeBytes(ctx context.Context, s settings) (float64, error) {
	all, err := takeMerges(ctx, s)
	if err != nil {
		return 0, err
	}
	return all[0].moved, nil
}
