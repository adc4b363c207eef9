package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/host"
	"github.com/sendense/backup-agent/cmd/internal/bench/hub"
	"github.com/sendense/backup-agent/cmd/internal/bench/rival"
	"github.com/sendense/backup-agent/rpc"
)

// depths of a chain in images, including the new one.
var depths = []int{2, 10, 30, 60}

// measureChain measures how a long chain of restore points slows down the next start.
func measureChain(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title: "Depth of a chain",
		Method: "Start of an incremental of one disk, based on a chain of real restore points, beside bare qemu-nbd with an image of the same parents, and " +
			"beside the agent's start of a full backup in the same round.",
		Head: []string{"images", "ms, agent", "ms, bare qemu-nbd", "agent / a full start", "qemu-nbd / itself on one image"},
	}
	h, err := hub.New(ctx, s.programs, filepath.Join(s.disk, "chain"))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	const size = 16 << 20
	last, err := h.RestorePoint(ctx, "vm", size)
	if err != nil {
		return p, err
	}
	length := 1
	for _, depth := range depths {
		for ; length < depth-1; length++ {
			if last, err = h.Complete(ctx, "vm", rpc.Incremental); err != nil {
				return p, err
			}
		}
		if err := h.Hold(); err != nil {
			return p, err
		}
		before, err := hub.Phases()
		if err != nil {
			return p, err
		}
		t, err := figures.TakeTurns(ctx, s.rounds, []figures.Contender{
			{Name: ours, Run: func(ctx context.Context) (time.Duration, error) { return h.TimeStart(ctx, "vm", rpc.Incremental) }},
			{Name: "full", Run: func(ctx context.Context) (time.Duration, error) { return h.TimeStart(ctx, "vm", rpc.Full) }},
			{Name: "bare", Run: func(ctx context.Context) (time.Duration, error) {
				return bareStart(ctx, h.Dir, "-F", "qcow2", "-b", last)
			}},
			{Name: "bare alone", Run: func(ctx context.Context) (time.Duration, error) { return bareStart(ctx, h.Dir) }},
		})
		if err != nil {
			return p, err
		}
		after, err := hub.Phases()
		if err != nil {
			return p, err
		}
		p.Note += fmt.Sprintf("- %d images, means of the agent's own clock over these starts and the full ones: %s\n", depth, after.Since(before))
		p.Add(fmt.Sprint(depth), t.Of(ours).String(), t.Of("bare").String(), t.Ratio(ours, "full").String(), t.Ratio("bare", "bare alone").String())
		if err := h.Release(); err != nil {
			return p, err
		}
	}
	return p, nil
}

// bareStart times qemu-nbd on a new image.
func bareStart(ctx context.Context, dir string, options ...string) (took time.Duration, err error) {
	image := filepath.Join(dir, "bare.qcow2")
	args := append([]string{"create", "-q", "-f", "qcow2"}, options...)
	if err := host.Run(ctx, "qemu-img", append(args, image, "16M")...); err != nil {
		return 0, err
	}
	s := &rival.Served{Dir: dir, Images: []string{image}}
	defer func() { err = errors.Join(err, s.Stop(ctx), os.Remove(image)) }()
	began := time.Now()
	err = rival.Bare.Start(ctx, s)
	return time.Since(began), err
}
