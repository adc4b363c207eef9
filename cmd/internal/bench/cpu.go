package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/hub"
	"github.com/sendense/backup-agent/cmd/internal/bench/rival"
	"github.com/sendense/backup-agent/rpc"
)

// payers are the processes whose CPU time is measured.
var payers = []struct {
	told string
	of   func(hub.CPU) time.Duration
}{
	{"PID 1, which does one thing at a time", func(b hub.CPU) time.Duration { return b.Systemd }},
	{"its children: sandbox and qemu-nbd", func(b hub.CPU) time.Duration { return b.Children }},
	{"the bus", func(b hub.CPU) time.Duration { return b.Bus }},
	{"the agent, with qemu-img", func(b hub.CPU) time.Duration { return b.Daemon }},
}

// measureCPU measures the CPU time of a start and its removal by process. A busy machine changes CPU time little.
func measureCPU(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title: "CPU time of a start and its removal",
		Method: "CPU time in milliseconds for one of sixteen disks that are started and removed together: by the agent, and by one bus connection that starts and removes " +
			"the same units and reads nothing. The share of PID 1 and its children is systemd's own; see the next table.",
		Head: []string{"who", "ms, agent", "ms, systemd alone", "agent / it"},
	}
	took, err := takeBills(ctx, s)
	if err != nil {
		return p, err
	}
	for i, who := range payers {
		if i == len(payers)-1 {
			p.Add(who.told, took.Of(ours+who.told).String())
			continue
		}
		p.Add(who.told, took.Of(ours+who.told).String(), took.Of(units1+who.told).String(), took.Ratio(ours+who.told, units1+who.told).String())
	}
	return p, nil
}

// takeBills makes the agent and the bus connection start and remove in turn.
func takeBills(ctx context.Context, s settings) (took figures.Times, err error) {
	h, err := hub.New(ctx, s.programs, filepath.Join(s.disk, "cpu"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	if err := errors.Join(h.Hold(), h.PutVM(ctx, "vm", rival.PairsOfUnit, rival.DiskOfStart)); err != nil {
		return nil, err
	}
	f, err := rival.NewFloor(ctx, h.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	took = figures.Times{}
	for round := range s.rounds + 1 {
		agents, err := billOf(h, func() error { _, err := h.TimeStart(ctx, "vm", rpc.Full); return err })
		if err != nil {
			return nil, err
		}
		alone, err := billOf(h, func() error { _, err := f.TimeStart(ctx, rival.PairsOfUnit, f.Start, false); return err })
		if err != nil {
			return nil, err
		}
		for _, who := range payers {
			if round > 0 {
				took[ours+who.told] = append(took[ours+who.told], who.of(agents))
				took[units1+who.told] = append(took[units1+who.told], who.of(alone))
			}
		}
	}
	return took, nil
}

// billOf measures the CPU time of a piece of work, for one of its disks.
func billOf(h *hub.Hub, work func() error) (b hub.CPU, err error) {
	before, err := h.Meter()
	if err != nil {
		return b, err
	}
	if err := work(); err != nil {
		return b, err
	}
	after, err := h.Meter()
	return hub.CPU{
		Systemd:  (after.Systemd - before.Systemd) / rival.PairsOfUnit,
		Children: (after.Children - before.Children) / rival.PairsOfUnit,
		Bus:      (after.Bus - before.Bus) / rival.PairsOfUnit,
		Daemon:   (after.Daemon - before.Daemon) / rival.PairsOfUnit,
	}, err
}
