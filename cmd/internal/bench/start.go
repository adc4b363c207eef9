package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/hub"
	"github.com/sendense/backup-agent/cmd/internal/bench/rival"
	"github.com/sendense/backup-agent/rpc"
)

const (
	ours   = "agent"
	units1 = "systemd alone"
	units2 = "qemu-img, then systemd"
	inTurn = "systemd, one unit after another, TCP poll"
)

// measureStart measures from the request until every disk is served. By its answer the agent has written the record to the disk, made and
// checked every image, done a handshake with every export, and asked the SNA.
func measureStart(ctx context.Context, s settings) (figures.Part, error) {
	p := figures.Part{
		Title: "Start of a backup",
		Method: "From `backup.start` on the socket to its answer: records, leases, images, units, a handshake with every export, and the SNA's answer. " +
			"Beside it the same units, including the sandbox, over one open D-Bus connection (systemd alone: nothing recorded or checked, images made before); " +
			"the same with images made first; the same units one after another, each polled until its port answers; the same units from a shell script; " +
			"and alternatives without sandbox, record or check. Milliseconds; agent / other.",
		Head: []string{"disks", "way", "ms", "agent / it"},
	}
	for _, disks := range []int{1, 4, 16, 60} {
		if err := startOf(ctx, s, disks, &p); err != nil {
			return p, fmt.Errorf("%d disks: %w", disks, err)
		}
	}
	return p, nil
}

func startOf(ctx context.Context, s settings, disks int, p *figures.Part) (err error) {
	h, err := hub.New(ctx, s.programs, filepath.Join(s.disk, fmt.Sprint("start-", disks)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	vm := fmt.Sprint("vm", disks)
	if err := errors.Join(h.Hold(), h.PutVM(ctx, vm, disks, rival.DiskOfStart)); err != nil {
		return err
	}
	f, err := rival.NewFloor(ctx, h.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	all := []figures.Contender{
		{Name: ours, Run: func(ctx context.Context) (time.Duration, error) { return h.TimeStart(ctx, vm, rpc.Full) }},
		{Name: units1, Run: func(ctx context.Context) (time.Duration, error) { return f.TimeStart(ctx, disks, f.Start, false) }},
		{Name: units2, Run: func(ctx context.Context) (time.Duration, error) { return f.TimeStart(ctx, disks, f.Start, true) }},
		{Name: inTurn, Run: func(ctx context.Context) (time.Duration, error) { return f.TimeStart(ctx, disks, f.StartInTurn, true) }},
		{Name: rival.ByShell, Run: func(ctx context.Context) (time.Duration, error) { return f.TimeShell(ctx, disks) }},
	}
	for _, way := range []rival.Server{rival.Original, rival.Bare, rival.StorageDaemon, rival.Kit} {
		all = append(all, figures.Contender{Name: way.Name, Run: func(ctx context.Context) (time.Duration, error) {
			return way.TimeStart(ctx, f, disks)
		}})
	}
	before, err := hub.Phases()
	if err != nil {
		return err
	}
	t, err := figures.TakeTurns(ctx, s.rounds, all)
	if err != nil {
		return err
	}
	after, err := hub.Phases()
	if err != nil {
		return err
	}
	for _, c := range all {
		ratio := ""
		if c.Name != ours {
			ratio = t.Ratio(ours, c.Name).String()
		}
		p.Add(fmt.Sprint(disks), c.Name, t.Of(c.Name).String(), ratio)
	}
	p.Note += fmt.Sprintf("- %d disks, means of the agent's own clock: %s\n", disks, after.Since(before))
	return nil
}
