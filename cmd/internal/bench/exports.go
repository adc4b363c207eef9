package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/hub"
	"github.com/sendense/backup-agent/cmd/internal/bench/rival"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/units"
)

const (
	liveVMs  = 10
	liveEach = 10
)

// measureExports measures the cost of an idle daemon, without exports and with a hundred, and how soon it knows them after a restart.
func measureExports(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title: fmt.Sprintf("The idle daemon, and with %d live exports", liveVMs*liveEach),
		Method: fmt.Sprintf("CPU time over %s without any request, as a share of one core, of the daemon, of PID 1 and of the bus; memory of the daemon; and, after a restart, the time "+
			"from its start until `export.list` reports every export as alive.", hub.Watched),
		Head: []string{"", "at rest", "with the exports", "goal"},
	}
	h, err := hub.New(ctx, s.programs, filepath.Join(s.disk, "exports"))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	if err := h.Hold(); err != nil {
		return p, err
	}
	empty, err := h.Rest(ctx)
	if err != nil {
		return p, err
	}
	var group errgroup.Group
	for i := range liveVMs {
		vm := fmt.Sprint("vm", i)
		if err := h.PutVM(ctx, vm, liveEach, rival.DiskOfStart); err != nil {
			return p, err
		}
		group.Go(func() error {
			_, err := h.Client.StartBackup(ctx, rpc.StartRequest{VMName: vm, BackupType: rpc.Full})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return p, err
	}
	live, err := h.Rest(ctx)
	if err != nil {
		return p, err
	}
	adoption, listings, err := adoptions(ctx, h, s.rounds)
	if err != nil {
		return p, err
	}
	p.Add("CPU of the daemon, % of a core", figures.Figure(empty.Daemon), figures.Figure(live.Daemon), "< 0.5")
	p.Add("CPU of PID 1, %", figures.Figure(empty.Systemd), figures.Figure(live.Systemd), "")
	p.Add("CPU of the bus, %", figures.Figure(empty.Bus), figures.Figure(live.Bus), "")
	p.Add("resident memory, MiB", figures.Figure(empty.Resident), figures.Figure(live.Resident), "< 48")
	p.Add("goroutines", figures.Figure(empty.Goroutines), figures.Figure(live.Goroutines), "")
	p.Add("open files", figures.Figure(empty.Files), figures.Figure(live.Files), "")
	p.Add("ms until all are reported after a restart", "", adoption.String(), "< 1000")
	p.Add("the same, over the time to read all their units over D-Bus", "", listings.String(), "")
	return p, nil
}

// adoptions restarts the daemon repeatedly. It returns milliseconds, and the ratio to one reading of the units immediately before, which a
// busy machine changes little.
func adoptions(ctx context.Context, h *hub.Hub, rounds int) (ms, listings figures.Spread, err error) {
	manager, err := units.Open(ctx, units.Options{})
	if err != nil {
		return ms, listings, err
	}
	defer func() { err = errors.Join(err, manager.Close()) }()
	var milli, ratios []float64
	for range rounds {
		if err := h.Halt(); err != nil {
			return ms, listings, err
		}
		began := time.Now()
		if _, err := manager.List(ctx, "sendense-nbd-"); err != nil {
			return ms, listings, err
		}
		listing := time.Since(began)
		began = time.Now()
		if err := h.Boot(ctx); err != nil {
			return ms, listings, err
		}
		if err := allAlive(ctx, h); err != nil {
			return ms, listings, err
		}
		took := time.Since(began)
		milli, ratios = append(milli, figures.Milliseconds(took)), append(ratios, took.Seconds()/listing.Seconds())
	}
	return figures.SpreadOf(milli), figures.SpreadOf(ratios), nil
}

// allAlive asks for the exports until all are reported as alive.
func allAlive(ctx context.Context, h *hub.Hub) error {
	for {
		list, err := h.Client.ListExports(ctx)
		if err != nil {
			return err
		}
		alive := 0
		for _, e := range list.Exports {
			if e.QemuNBDPID != 0 {
				alive++
			}
		}
		if alive == liveVMs*liveEach {
			return nil
		}
	}
}
