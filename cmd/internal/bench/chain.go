package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// depths of a chain, counted in images, the new one with them.
var depths = []int{2, 10, 30, 60}

// measureChain: what a long chain of restore points costs the start of the next one.
func measureChain(ctx context.Context, s settings) (p part, err error) {
	p = part{
		title: "Depth of a chain",
		method: "Start of an incremental of one disk at the end of a chain of real restore points, beside bare qemu-nbd on an image with the same parents, and " +
			"beside the agent's start of a full backup in the same round.",
		head: []string{"images", "ms, agent", "ms, bare qemu-nbd", "agent / a full start", "qemu-nbd / itself on one image"},
	}
	h, err := newHub(ctx, s, filepath.Join(s.disk, "chain"))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, h.close(ctx)) }()
	const size = 16 << 20
	last, err := h.restorePoint(ctx, "vm", size)
	if err != nil {
		return p, err
	}
	length := 1
	for _, depth := range depths {
		for ; length < depth-1; length++ {
			if last, err = h.complete(ctx, "vm", rpc.Incremental); err != nil {
				return p, err
			}
		}
		if err := h.hold(); err != nil {
			return p, err
		}
		before, err := phases()
		if err != nil {
			return p, err
		}
		t, err := takeTurns(ctx, s.rounds, []contender{
			{ours, func(ctx context.Context) (time.Duration, error) { return h.timeStart(ctx, "vm", rpc.Incremental) }},
			{"full", func(ctx context.Context) (time.Duration, error) { return h.timeStart(ctx, "vm", rpc.Full) }},
			{"bare", func(ctx context.Context) (time.Duration, error) {
				return bareStart(ctx, h.dir, "-F", "qcow2", "-b", last)
			}},
			{"bare alone", func(ctx context.Context) (time.Duration, error) { return bareStart(ctx, h.dir) }},
		})
		if err != nil {
			return p, err
		}
		after, err := phases()
		if err != nil {
			return p, err
		}
		p.note += fmt.Sprintf("- %d images, means of the agent's own clock over these starts and the full ones: %s\n", depth, after.since(before))
		p.add(fmt.Sprint(depth), t.of(ours).String(), t.of("bare").String(), t.ratio(ours, "full").String(), t.ratio("bare", "bare alone").String())
		if err := h.release(); err != nil {
			return p, err
		}
	}
	return p, nil
}

// bareStart times qemu-nbd on a new image.
func bareStart(ctx context.Context, dir string, options ...string) (took time.Duration, err error) {
	image := filepath.Join(dir, "bare.qcow2")
	args := append([]string{"create", "-q", "-f", "qcow2"}, options...)
	if err := run(ctx, "qemu-img", append(args, image, "16M")...); err != nil {
		return 0, err
	}
	s := &served{dir: dir, images: []string{image}}
	defer func() { err = errors.Join(err, s.stop(ctx), os.Remove(image)) }()
	began := time.Now()
	err = bare.start(ctx, s)
	return time.Since(began), err
}
