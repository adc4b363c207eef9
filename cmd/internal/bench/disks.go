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

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/host"
	"github.com/sendense/backup-agent/cmd/internal/bench/hub"
	"github.com/sendense/backup-agent/cmd/internal/bench/rawdisk"
	"github.com/sendense/backup-agent/cmd/internal/bench/rival"
	"github.com/sendense/backup-agent/rpc"
)

// disksAtOnce is how many disks of a VM are copied at once.
const disksAtOnce = 4

// measureDisks measures how fast several disks of a VM are written together.
func measureDisks(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title: fmt.Sprintf("Writing %d disks at once", disksAtOnce),
		Method: fmt.Sprintf("As the full backup of one disk, with %d disks of random data (%d MiB together), each copied by a client of its own at the same time. "+
			"Milliseconds until the last is flushed; agent / other.", disksAtOnce, s.size>>20),
		Head: []string{"client", "way", "ms", "agent / it"},
	}
	h, err := hub.New(ctx, s.programs, filepath.Join(s.disk, "disks"))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	size := s.size / disksAtOnce / rawdisk.Block * rawdisk.Block
	if err := errors.Join(h.Hold(), h.PutVM(ctx, "vm", disksAtOnce, size)); err != nil {
		return p, err
	}
	source := filepath.Join(h.Dir, "source.raw")
	if err := rawdisk.WriteSource(source, "random", size); err != nil {
		return p, err
	}
	for _, c := range clients {
		all := diskCopiers(h, c, source, size)
		t, err := figures.TakeTurns(ctx, s.rounds, all)
		if err != nil {
			return p, fmt.Errorf("%s: %w", c.name, err)
		}
		addRows(&p, t, all, c.name)
	}
	return p, nil
}

func diskCopiers(h *hub.Hub, c client, source string, size int64) []figures.Contender {
	served := func(way rival.Server, options ...string) func(context.Context) (time.Duration, error) {
		return func(ctx context.Context) (time.Duration, error) {
			return copyServedAtOnce(ctx, way, c, h.Dir, source, size, options...)
		}
	}
	return []figures.Contender{
		{Name: ours, Run: func(ctx context.Context) (time.Duration, error) { return copyThroughAtOnce(ctx, h, c, source) }},
		{Name: "qemu-nbd, options of the predecessor", Run: served(rival.Original)},
		{Name: "qemu-nbd, the agent's options and images", Run: served(rival.Bare, rival.FullImage...)},
		{Name: "qemu-storage-daemon, the agent's images, one process", Run: served(rival.StorageDaemon, rival.FullImage...)},
		{Name: "dd O_DIRECT, raw", Run: func(ctx context.Context) (time.Duration, error) { return ddAtOnce(ctx, h.Dir, source) }},
	}
}

// atOnce calls f for every disk at the same time, and returns the time for all.
func atOnce(ctx context.Context, f func(ctx context.Context, disk int) error) (time.Duration, error) {
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range disksAtOnce {
		group.Go(func() error { return f(ctx, i) })
	}
	err := group.Wait()
	return time.Since(began), err
}

func copyThroughAtOnce(ctx context.Context, h *hub.Hub, c client, source string) (time.Duration, error) {
	b, err := h.Client.StartBackup(ctx, rpc.StartRequest{VMName: "vm", BackupType: rpc.Full})
	if err != nil {
		return 0, err
	}
	targets := strings.Split(b.NBDTargetsString, ",")
	took, err := atOnce(ctx, func(ctx context.Context, disk int) error {
		_, uri, _ := strings.Cut(targets[disk], ":")
		_, err := c.copy(ctx, source, uri)
		return err
	})
	return took, errors.Join(err, h.Cancel(ctx, b.BackupID))
}

func copyServedAtOnce(ctx context.Context, way rival.Server, c client, dir, source string, size int64, options ...string) (took time.Duration, err error) {
	s := &rival.Served{Dir: filepath.Join(dir, "served")}
	if err := os.Mkdir(s.Dir, 0o755); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.Dir)) }()
	for i := range disksAtOnce {
		s.Images = append(s.Images, filepath.Join(s.Dir, "image"+strconv.Itoa(i)))
	}
	if err := rival.MakeImages(ctx, s.Images, size, options...); err != nil {
		return 0, err
	}
	if err := way.Start(ctx, s); err != nil {
		return 0, errors.Join(err, s.Stop(ctx))
	}
	took, err = atOnce(ctx, func(ctx context.Context, disk int) error {
		port := s.Port(disk)
		if way.Name == rival.StorageDaemon.Name {
			port = s.Port(0)
		}
		_, err := c.copy(ctx, source, fmt.Sprintf("nbd://127.0.0.1:%s/disk%d", port, disk))
		return err
	})
	return took, errors.Join(err, s.Stop(ctx))
}

func ddAtOnce(ctx context.Context, dir, source string) (time.Duration, error) {
	paths := make([]string, disksAtOnce)
	for i := range paths {
		paths[i] = filepath.Join(dir, fmt.Sprintf("dd%d.raw", i))
	}
	took, err := atOnce(ctx, func(ctx context.Context, disk int) error {
		return host.Run(ctx, "dd", "if="+source, "of="+paths[disk], "bs=1M", "oflag=direct", "conv=fsync", "status=none")
	})
	for _, path := range paths {
		err = errors.Join(err, os.Remove(path))
	}
	return took, err
}
