package hub

import (
	"context"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/host"
)

// Rest is the cost of the idle daemon.
type Rest struct{ Daemon, Systemd, Bus, Resident, Heap, Collected, Goroutines, Files float64 }

// Rest watches the daemon for a while.
func (h *Hub) Rest(ctx context.Context) (r Rest, err error) {
	bus, err := host.PIDOf("dbus-daemon")
	if err != nil {
		return r, err
	}
	select { // effects of the last request
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
		return r, ctx.Err()
	}
	shares := []struct {
		pid  int
		into *float64
	}{{h.daemon.Process.Pid, &r.Daemon}, {1, &r.Systemd}, {bus, &r.Bus}}
	for _, s := range shares {
		own, err := host.Busy(s.pid)
		if err != nil {
			return r, err
		}
		*s.into = -own.Seconds()
	}
	began := time.Now()
	select {
	case <-time.After(Watched):
	case <-ctx.Done():
		return r, ctx.Err()
	}
	for _, s := range shares {
		own, err := host.Busy(s.pid)
		if err != nil {
			return r, err
		}
		*s.into = (*s.into + own.Seconds()) / time.Since(began).Seconds() * 100
	}
	return r, h.Sizes(&r)
}

// Sizes asks the daemon how large it is.
func (h *Hub) Sizes(r *Rest) error {
	all, err := scrape()
	if err != nil {
		return err
	}
	for name, into := range map[string]*float64{
		// The next collection is at about twice the heap that was in use after the last.
		"go_memstats_last_gc_time_seconds": &r.Collected,
		"process_resident_memory_bytes":    &r.Resident, "go_memstats_next_gc_bytes": &r.Heap, "go_goroutines": &r.Goroutines, "process_open_fds": &r.Files,
	} {
		if *into, err = all.gauge(name); err != nil {
			return err
		}
	}
	r.Resident /= 1 << 20
	r.Heap /= 1 << 20
	return nil
}

// Watched is how long the idle daemon is watched.
const Watched = 10 * time.Second
