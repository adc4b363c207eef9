package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/rpc"
)

// disksAtOnce is how many disks of a VM are copied at once.
const disksAtOnce = 4

// measureDisks: what the disks of a VM are written at together.
func measureDisks(ctx context.Context, s settings) (p part, err error) {
	p = part{
		title: fmt.Sprintf("Writing %d disks at once", disksAtOnce),
		method: fmt.Sprintf("As a full backup of one disk, with %d disks of random data, %d MiB together, each copied by a client of its own at the same time. "+
			"Milliseconds until the last is flushed; agent / other.", disksAtOnce, s.size>>20),
		head: []string{"way", "ms", "agent / it"},
	}
	h, err := newHub(ctx, s, filepath.Join(s.disk, "disks"))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, h.close(ctx)) }()
	size := s.size / disksAtOnce / block * block
	if err := errors.Join(h.hold(), h.putVM(ctx, "vm", disksAtOnce, size)); err != nil {
		return p, err
	}
	source := filepath.Join(h.dir, "source.raw")
	if err := writeSource(source, "random", size); err != nil {
		return p, err
	}
	all := []contender{
		{ours, func(ctx context.Context) (time.Duration, error) { return h.copiedAtOnce(ctx, source) }},
		{"qemu-nbd, options of the predecessor", func(ctx context.Context) (time.Duration, error) {
			return original.copiedAtOnce(ctx, h.dir, source, size)
		}},
		{"qemu-nbd, the agent's options and images", func(ctx context.Context) (time.Duration, error) {
			return bare.copiedAtOnce(ctx, h.dir, source, size, fullImage...)
		}},
		{"qemu-storage-daemon, the agent's images, one process", func(ctx context.Context) (time.Duration, error) {
			return storageDaemon.copiedAtOnce(ctx, h.dir, source, size, fullImage...)
		}},
		{"dd O_DIRECT, raw", func(ctx context.Context) (time.Duration, error) { return ddAtOnce(ctx, h.dir, source) }},
	}
	t, err := takeTurns(ctx, s.rounds, all)
	if err != nil {
		return p, err
	}
	for _, c := range all {
		ratio := ""
		if c.name != ours {
			ratio = t.ratio(ours, c.name).String()
		}
		p.add(c.name, t.of(c.name).String(), ratio)
	}
	return p, nil
}

// atOnce does the same for every disk at the same time, and says what all of it took.
func atOnce(ctx context.Context, f func(ctx context.Context, disk int) error) (time.Duration, error) {
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range disksAtOnce {
		group.Go(func() error { return f(ctx, i) })
	}
	err := group.Wait()
	return time.Since(began), err
}

func (h *hub) copiedAtOnce(ctx context.Context, source string) (time.Duration, error) {
	b, err := h.client.StartBackup(ctx, rpc.StartRequest{VMName: "vm", BackupType: rpc.Full})
	if err != nil {
		return 0, err
	}
	targets := strings.Split(b.NBDTargetsString, ",")
	took, err := atOnce(ctx, func(ctx context.Context, disk int) error {
		_, uri, _ := strings.Cut(targets[disk], ":")
		_, err := nbdcopy(ctx, source, uri)
		return err
	})
	return took, errors.Join(err, h.cancel(ctx, b.BackupID))
}

func (way server) copiedAtOnce(ctx context.Context, dir, source string, size int64, options ...string) (took time.Duration, err error) {
	s := &served{dir: filepath.Join(dir, "served")}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	for i := range disksAtOnce {
		s.images = append(s.images, filepath.Join(s.dir, "image"+strconv.Itoa(i)))
	}
	if err := makeImages(ctx, s.images, size, options...); err != nil {
		return 0, err
	}
	if err := way.start(ctx, s); err != nil {
		return 0, errors.Join(err, s.stop(ctx))
	}
	took, err = atOnce(ctx, func(ctx context.Context, disk int) error {
		port := s.port(disk)
		if way.name == storageDaemon.name {
			port = s.port(0)
		}
		_, err := nbdcopy(ctx, source, fmt.Sprintf("nbd://127.0.0.1:%s/disk%d", port, disk))
		return err
	})
	return took, errors.Join(err, s.stop(ctx))
}

func ddAtOnce(ctx context.Context, dir, source string) (time.Duration, error) {
	paths := make([]string, disksAtOnce)
	for i := range paths {
		paths[i] = filepath.Join(dir, fmt.Sprintf("dd%d.raw", i))
	}
	took, err := atOnce(ctx, func(ctx context.Context, disk int) error {
		return run(ctx, "dd", "if="+source, "of="+paths[disk], "bs=1M", "oflag=direct", "conv=fsync", "status=none")
	})
	for _, path := range paths {
		err = errors.Join(err, os.Remove(path))
	}
	return took, err
}
