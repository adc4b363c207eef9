package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/host"
	"github.com/sendense/backup-agent/cmd/internal/bench/rawdisk"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// measureMerge measures what a merge reads, writes and keeps.
func measureMerge(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title: "Merging restore points",
		Method: "A full backup with 64 KiB of data in every 512 KiB, zeroes between, and an incremental of one block in 8 MiB become one image, with the page " +
			"cache switched off. The sizes are over that of the blocks with data; the bytes that were read and written (getrusage(2)) are over those of " +
			"qemu-img convert.",
		Head: []string{"way", "kept / data", "moved / convert"},
	}
	all, err := takeMerges(ctx, s)
	for _, m := range all {
		p.Add(m.name, figures.Figure(m.kept), figures.Figure(m.moved))
	}
	return p, err
}

// A merged says what one way of merging cost.
type merged struct {
	name        string
	kept, moved float64
}

const (
	converted = "qemu-img convert"
	mergeSize = 512 << 20 // bytes of the disk: an eighth has data, and tables count for little
)

// takeMerges merges the same two images in each way. The first is the agent's.
func takeMerges(ctx context.Context, s settings) (all []merged, err error) {
	dir := filepath.Join(s.disk, "merge")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the whole directory goes at the end
	full, next := filepath.Join(dir, "full.qcow2"), filepath.Join(dir, "next.qcow2")
	data, err := makeChain(ctx, full, next, mergeSize)
	if err != nil {
		return nil, err
	}
	to := filepath.Join(dir, "merged.qcow2")
	tools := qemu.Tools{}
	ways := []struct {
		name string
		run  func() error
	}{
		{ours, func() error {
			return tools.Merge(ctx, qemu.MergeSpec{
				Layers: []qemu.Layer{{Path: next}, {Path: full}}, Cache: "none", Image: qemu.ImageSpec{Path: to, SizeBytes: mergeSize},
			})
		}},
		{converted, func() error {
			return host.Run(ctx, "qemu-img", "convert", "-t", "none", "-T", "none", "-O", "qcow2", next, to)
		}},
	}
	moved := map[string]float64{}
	for _, w := range ways {
		before := movedBytes()
		if err := w.run(); err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		moved[w.name] = movedBytes() - before
		info, err := tools.Info(to)
		if err != nil {
			return nil, err
		}
		all = append(all, merged{name: w.name, kept: float64(info.ActualBytes) / float64(data)})
		if err := os.Remove(to); err != nil {
			return nil, err
		}
	}
	for i := range all {
		all[i].moved = moved[all[i].name] / moved[converted]
	}
	return all, nil
}

// makeChain makes a full image and an overlay, and returns how many bytes the blocks with data have.
func makeChain(ctx context.Context, full, next string, size int64) (int64, error) {
	source := full + ".raw"
	data, err := rawdisk.WriteScattered(source, "random", size)
	if err != nil {
		return 0, err
	}
	steps := [][]string{
		{"qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=1M,extended_l2=on", full, strconv.FormatInt(size, 10)},
		{"qemu-img", "convert", "-n", "-S", "64k", "-O", "qcow2", source, full}, // its zeroes are written, as those of a backup
		{"qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", full, next},
		{"qemu-io"},
	}
	last := len(steps) - 1
	for at := int64(0); at < size; at += 8 << 20 {
		steps[last] = append(steps[last], "-c", fmt.Sprintf("write -q -P 7 %d 64k", at))
	}
	steps[last] = append(steps[last], next)
	for _, step := range steps {
		if err := host.Run(ctx, step[0], step[1:]...); err != nil {
			return 0, err
		}
	}
	return data, os.Remove(source)
}

// movedBytes is how much the children that have ended have read from disks and written to them.
func movedBytes() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u) // fails only for a bad argument
	return float64(u.Inblock+u.Oublock) * 512
}
