package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// A bill is the CPU time that something cost, by who worked.
type bill struct{ systemd, children, bus, daemon time.Duration }

// payers are those of whom a bill is made.
var payers = []struct {
	told string
	of   func(bill) time.Duration
}{
	{"PID 1, which does one thing at a time", func(b bill) time.Duration { return b.systemd }},
	{"its children: sandbox and qemu-nbd", func(b bill) time.Duration { return b.children }},
	{"the bus", func(b bill) time.Duration { return b.bus }},
	{"the agent, with qemu-img", func(b bill) time.Duration { return b.daemon }},
}

// measureCPU tells who works for a start and its undoing: CPU time, which a busy machine changes little.
func measureCPU(ctx context.Context, s settings) (p part, err error) {
	p = part{
		title: "Who works for a start and its undoing",
		method: "CPU time for one disk, of sixteen that are started and removed together, in milliseconds: by the agent, and by one bus connection that starts and removes " +
			"the same units and reads nothing. What PID 1 and its children take is systemd's own; see the next table.",
		head: []string{"who", "ms, agent", "ms, systemd alone", "agent / it"},
	}
	took, err := takeBills(ctx, s)
	if err != nil {
		return p, err
	}
	for i, who := range payers {
		if i == len(payers)-1 {
			p.add(who.told, took.of(ours+who.told).String())
			continue
		}
		p.add(who.told, took.of(ours+who.told).String(), took.of(units1+who.told).String(), took.ratio(ours+who.told, units1+who.told).String())
	}
	return p, nil
}

// takeBills has the agent, and the bus connection, start and remove by turns.
func takeBills(ctx context.Context, s settings) (took times, err error) {
	h, err := newHub(ctx, s, filepath.Join(s.disk, "cpu"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close(ctx)) }()
	if err := errors.Join(h.hold(), h.putVM(ctx, "vm", pairsOfUnit, diskOfStart)); err != nil {
		return nil, err
	}
	f, err := newFloor(ctx, h.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	took = times{}
	for round := range s.rounds + 1 {
		agents, err := h.bill(func() error { _, err := h.timeStart(ctx, "vm", rpc.Full); return err })
		if err != nil {
			return nil, err
		}
		alone, err := h.bill(func() error { _, err := f.timeStart(ctx, pairsOfUnit, f.start, false); return err })
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

// bill makes the bill of a piece of work, for one disk of it.
func (h *hub) bill(work func() error) (b bill, err error) {
	before, err := h.meter()
	if err != nil {
		return b, err
	}
	if err := work(); err != nil {
		return b, err
	}
	after, err := h.meter()
	return bill{
		(after.systemd - before.systemd) / pairsOfUnit, (after.children - before.children) / pairsOfUnit,
		(after.bus - before.bus) / pairsOfUnit, (after.daemon - before.daemon) / pairsOfUnit,
	}, err
}

// meter reads the CPU times since each began.
func (h *hub) meter() (b bill, err error) {
	pid, err := pidOf("dbus-daemon")
	if err != nil {
		return b, err
	}
	if b.bus, err = busy(pid); err != nil {
		return b, err
	}
	if b.systemd, err = busy(1); err != nil {
		return b, err
	}
	if _, b.children, err = cpuOf(1); err != nil {
		return b, err
	}
	own, tools, err := cpuOf(h.daemon.Process.Pid)
	b.daemon = own + tools
	return b, err
}
