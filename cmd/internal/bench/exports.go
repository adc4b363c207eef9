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
	"github.com/sendense/backup-agent/units"
)

const (
	liveVMs  = 10
	liveEach = 10
	watched  = 10 * time.Second // how long the daemon is watched at rest
)

// measureExports: what the daemon costs when it has nothing to do, without exports and with a hundred, and how soon it has them
// again after a restart.
func measureExports(ctx context.Context, s settings) (p part, err error) {
	p = part{
		title: fmt.Sprintf("The daemon at rest, and with %d live exports", liveVMs*liveEach),
		method: fmt.Sprintf("CPU time over %s in which nothing is asked, as a share of one core, of the daemon, of PID 1 and of the bus; memory of the daemon; and the time "+
			"from its start until `export.list` tells of every export that it is alive, after a restart.", watched),
		head: []string{"", "at rest", "with the exports", "goal"},
	}
	h, err := newHub(ctx, s, filepath.Join(s.disk, "exports"))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, h.close(ctx)) }()
	if err := h.hold(); err != nil {
		return p, err
	}
	empty, err := h.rest(ctx)
	if err != nil {
		return p, err
	}
	var group errgroup.Group
	for i := range liveVMs {
		vm := fmt.Sprint("vm", i)
		if err := h.putVM(ctx, vm, liveEach, diskOfStart); err != nil {
			return p, err
		}
		group.Go(func() error {
			_, err := h.client.StartBackup(ctx, rpc.StartRequest{VMName: vm, BackupType: rpc.Full})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return p, err
	}
	live, err := h.rest(ctx)
	if err != nil {
		return p, err
	}
	adoption, listings, err := h.adoptions(ctx, s.rounds)
	if err != nil {
		return p, err
	}
	p.add("CPU of the daemon, % of a core", figure(empty.daemon), figure(live.daemon), "< 0.5")
	p.add("CPU of PID 1, %", figure(empty.systemd), figure(live.systemd), "")
	p.add("CPU of the bus, %", figure(empty.bus), figure(live.bus), "")
	p.add("resident memory, MiB", figure(empty.resident), figure(live.resident), "< 48")
	p.add("goroutines", figure(empty.goroutines), figure(live.goroutines), "")
	p.add("open files", figure(empty.files), figure(live.files), "")
	p.add("ms until all are told of after a restart", "", adoption.String(), "< 1000")
	p.add("the same, over one reading of all their units over D-Bus", "", listings.String(), "")
	return p, nil
}

// rest is what the daemon costs at rest.
type rest struct{ daemon, systemd, bus, resident, heap, collected, goroutines, files float64 }

// rest watches the daemon for a while.
func (h *hub) rest(ctx context.Context) (r rest, err error) {
	bus, err := pidOf("dbus-daemon")
	if err != nil {
		return r, err
	}
	select { // what came of the last request
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
		return r, ctx.Err()
	}
	shares := []struct {
		pid  int
		into *float64
	}{{h.daemon.Process.Pid, &r.daemon}, {1, &r.systemd}, {bus, &r.bus}}
	for _, s := range shares {
		own, err := busy(s.pid)
		if err != nil {
			return r, err
		}
		*s.into = -own.Seconds()
	}
	began := time.Now()
	select {
	case <-time.After(watched):
	case <-ctx.Done():
		return r, ctx.Err()
	}
	for _, s := range shares {
		own, err := busy(s.pid)
		if err != nil {
			return r, err
		}
		*s.into = (*s.into + own.Seconds()) / time.Since(began).Seconds() * 100
	}
	return r, h.sizes(&r)
}

// sizes asks the daemon how large it is.
func (h *hub) sizes(r *rest) error {
	all, err := scrape()
	if err != nil {
		return err
	}
	for name, into := range map[string]*float64{
		// At how much it collects next is about twice what was in use when it last did.
		"go_memstats_last_gc_time_seconds": &r.collected,
		"process_resident_memory_bytes":    &r.resident, "go_memstats_next_gc_bytes": &r.heap, "go_goroutines": &r.goroutines, "process_open_fds": &r.files,
	} {
		if *into, err = all.gauge(name); err != nil {
			return err
		}
	}
	r.resident /= 1 << 20
	r.heap /= 1 << 20
	return nil
}

// busy is the CPU time of a process and all its threads, to the nanosecond, which the clock ticks of its stat are too coarse for.
func busy(pid int) (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("process %d: no schedstat: %w", pid, err)
	}
	var sum time.Duration
	for _, path := range tasks {
		n, err := strconv.ParseInt(firstWord(path), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// pidOf finds a process of this machine by its name.
func pidOf(name string) (int, error) {
	paths, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		if strings.TrimSpace(string(text)) == name {
			return strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return 0, fmt.Errorf("no process is called %s", name)
}

// adoptions restarts the daemon again and again. It returns milliseconds, and the ratios to one reading of the units right before:
// a number that a busy machine changes little.
func (h *hub) adoptions(ctx context.Context, rounds int) (ms, listings spread, err error) {
	manager, err := units.Open(ctx, units.Options{})
	if err != nil {
		return ms, listings, err
	}
	defer func() { err = errors.Join(err, manager.Close()) }()
	var figures, ratios []float64
	for range rounds {
		if err := h.halt(); err != nil {
			return ms, listings, err
		}
		began := time.Now()
		if _, err := manager.List(ctx, "sendense-nbd-"); err != nil {
			return ms, listings, err
		}
		listing := time.Since(began)
		began = time.Now()
		if err := h.boot(ctx); err != nil {
			return ms, listings, err
		}
		if err := h.allAlive(ctx); err != nil {
			return ms, listings, err
		}
		took := time.Since(began)
		figures, ratios = append(figures, milliseconds(took)), append(ratios, took.Seconds()/listing.Seconds())
	}
	return spreadOf(figures), spreadOf(ratios), nil
}

// allAlive asks for the exports until all of them are told to be alive.
func (h *hub) allAlive(ctx context.Context) error {
	for {
		list, err := h.client.ListExports(ctx)
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
