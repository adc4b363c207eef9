package rival

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/host"
	"github.com/sendense/backup-agent/units/pair"
)

// TimeStart starts as many pairs of units as there are disks, and removes them.
func (f *Floor) TimeStart(ctx context.Context, disks int, start func(context.Context, []pair.Spec) error, withImages bool) (took time.Duration, err error) {
	began := time.Now()
	images, err := f.images(ctx, disks, DiskOfStart)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(filepath.Dir(images[0]))) }()
	if err := f.give(filepath.Dir(images[0])); err != nil {
		return 0, err
	}
	specs, err := f.specs(images)
	if err != nil {
		return 0, err
	}
	if !withImages {
		began = time.Now()
	}
	err = start(ctx, specs)
	took = time.Since(began)
	return took, errors.Join(err, f.remove(ctx, specs))
}

// CPU starts and removes pairs, and returns the CPU time of PID 1 and its children for one of them.
func (f *Floor) CPU(ctx context.Context) (own, children time.Duration, err error) {
	images, err := f.images(ctx, PairsOfUnit, DiskOfStart)
	if err != nil {
		return 0, 0, err
	}
	dir := filepath.Dir(images[0])
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	specs, err := f.specs(images)
	if err != nil {
		return 0, 0, errors.Join(err, f.give(dir))
	}
	own0, children0, err := host.CPUOf(1)
	if err != nil {
		return 0, 0, err
	}
	if err := errors.Join(f.give(dir), f.Start(ctx, specs), f.remove(ctx, specs)); err != nil {
		return 0, 0, err
	}
	own1, children1, err := host.CPUOf(1)
	return (own1 - own0) / PairsOfUnit, (children1 - children0) / PairsOfUnit, err
}

// PairsOfUnit is how many pairs are started for one figure, because the CPU time of children has a resolution of 10 ms.
const PairsOfUnit = 16

// DiskOfStart is the size of a disk that is only started: it is empty, and nothing is copied.
const DiskOfStart = 1 << 30
