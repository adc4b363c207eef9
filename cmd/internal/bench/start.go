package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/units/pair"
)

const (
	ours        = "agent"
	units1      = "systemd alone"
	units2      = "qemu-img, then systemd"
	inTurn      = "systemd, one unit after another, TCP poll"
	diskOfStart = 1 << 30 // empty, and no byte of it is copied
)

// measureStart: from the request until every disk is served. The agent has answered then: its record is on the disk, every
// image made and looked at, every export handshaken, and the SNA asked.
func measureStart(ctx context.Context, s settings) (part, error) {
	p := part{
		title: "Start of a backup",
		method: "From `backup.start` on the socket to its answer: records, leases, images, units, a handshake with every export, and the SNA's answer. " +
			"Beside it the same units, sandbox and all, over one open D-Bus connection (systemd alone: nothing recorded or checked, images there before), " +
			"with the images made first; the same units one after another, each polled until its port is dialled; the same units from a shell script; " +
			"and ways without sandbox, record or check. Milliseconds; agent / other.",
		head: []string{"disks", "way", "ms", "agent / it"},
	}
	for _, disks := range []int{1, 4, 16, 60} {
		if err := startOf(ctx, s, disks, &p); err != nil {
			return p, fmt.Errorf("%d disks: %w", disks, err)
		}
	}
	return p, nil
}

func startOf(ctx context.Context, s settings, disks int, p *part) (err error) {
	h, err := newHub(ctx, s, filepath.Join(s.disk, fmt.Sprint("start-", disks)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close(ctx)) }()
	vm := fmt.Sprint("vm", disks)
	if err := errors.Join(h.hold(), h.putVM(ctx, vm, disks, diskOfStart)); err != nil {
		return err
	}
	f, err := newFloor(ctx, h.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	all := []contender{
		{ours, func(ctx context.Context) (time.Duration, error) { return h.timeStart(ctx, vm, rpc.Full) }},
		{units1, func(ctx context.Context) (time.Duration, error) { return f.timeStart(ctx, disks, f.start, false) }},
		{units2, func(ctx context.Context) (time.Duration, error) { return f.timeStart(ctx, disks, f.start, true) }},
		{inTurn, func(ctx context.Context) (time.Duration, error) { return f.timeStart(ctx, disks, f.startInTurn, true) }},
		{byShell, func(ctx context.Context) (time.Duration, error) { return f.timeShell(ctx, disks) }},
	}
	for _, way := range []server{original, bare, storageDaemon, kit} {
		all = append(all, contender{way.name, func(ctx context.Context) (time.Duration, error) {
			return way.timeStart(ctx, f, disks)
		}})
	}
	before, err := phases()
	if err != nil {
		return err
	}
	t, err := takeTurns(ctx, s.rounds, all)
	if err != nil {
		return err
	}
	after, err := phases()
	if err != nil {
		return err
	}
	for _, c := range all {
		ratio := ""
		if c.name != ours {
			ratio = t.ratio(ours, c.name).String()
		}
		p.add(fmt.Sprint(disks), c.name, t.of(c.name).String(), ratio)
	}
	p.note += fmt.Sprintf("- %d disks, means of the agent's own clock: %s\n", disks, after.since(before))
	return nil
}

// timeStart starts a backup, and cancels it.
func (h *hub) timeStart(ctx context.Context, vm string, kind rpc.BackupType) (time.Duration, error) {
	began := time.Now()
	b, err := h.client.StartBackup(ctx, rpc.StartRequest{VMName: vm, BackupType: kind})
	took := time.Since(began)
	if err != nil {
		return took, err
	}
	return took, h.cancel(ctx, b.BackupID)
}

// timeStart starts as many pairs of units as there are disks, and removes them.
func (f *floor) timeStart(ctx context.Context, disks int, start func(context.Context, []pair.Spec) error, withImages bool) (took time.Duration, err error) {
	began := time.Now()
	images, err := f.images(ctx, disks, diskOfStart)
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

// timeStart serves new images, and stops. The time that the images take does not count.
func (way server) timeStart(ctx context.Context, f *floor, disks int) (took time.Duration, err error) {
	images, err := f.images(ctx, disks, diskOfStart)
	if err != nil {
		return 0, err
	}
	s := &served{dir: filepath.Dir(images[0]), images: images}
	defer func() { err = errors.Join(err, s.stop(ctx), os.RemoveAll(s.dir)) }()
	began := time.Now()
	err = way.start(ctx, s)
	return time.Since(began), err
}
