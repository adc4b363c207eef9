package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/host"
	"github.com/sendense/backup-agent/cmd/internal/bench/hub"
	"github.com/sendense/backup-agent/cmd/internal/bench/rawdisk"
	"github.com/sendense/backup-agent/rpc"
)

// soakVMs is how many VMs are backed up and cancelled in turn, each by its own goroutine.
const soakVMs = 4

// soak starts backups for a while, completes some and cancels the others. It fails if the daemon has more goroutines, open files or heap
// at the end than soon after the beginning, or if a unit is left. It reports resident memory without a limit: that includes pages of the
// database, which grows with every record, and the runtime decides when to return memory.
func soak(ctx context.Context, s settings) (err error) {
	h, err := hub.New(ctx, s.programs, filepath.Join(s.disk, "soak"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	for i := range soakVMs {
		if err := h.PutVM(ctx, fmt.Sprint("vm", i), 1+i, 1<<20); err != nil {
			return err
		}
	}
	// A first period fills pools and caches.
	if _, err := soakFor(ctx, h, min(s.soak/10, 30*time.Second)); err != nil {
		return err
	}
	before, err := settled(ctx, h)
	if err != nil {
		return err
	}
	counts, err := soakFor(ctx, h, s.soak)
	if err != nil {
		return err
	}
	after, err := settled(ctx, h)
	if err != nil {
		return err
	}
	database, err := rawdisk.Allocated(filepath.Join(h.Dir, "state", "agent.db"))
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d backups completed, %d cancelled; goroutines %.0f -> %.0f, open files %.0f -> %.0f, heap %.1f -> %.1f MiB, "+
		"resident %.1f -> %.1f MiB, the database has %.1f MiB\n", s.soak, counts.completed, counts.cancelled, before.Goroutines, after.Goroutines,
		before.Files, after.Files, before.Heap, after.Heap, before.Resident, after.Resident, float64(database)/(1<<20))
	return unchanged(before, after)
}

type soakCounts struct{ completed, cancelled int }

// soakFor runs all VMs for a time.
func soakFor(ctx context.Context, h *hub.Hub, d time.Duration) (sum soakCounts, err error) {
	deadline := time.Now().Add(d)
	results := make(chan error)
	counts := make([]soakCounts, soakVMs)
	for i := range soakVMs {
		go func() {
			var err error
			for n := i; err == nil && ctx.Err() == nil && time.Now().Before(deadline); n++ {
				err = cycle(ctx, h, fmt.Sprint("vm", i), n, &counts[i])
			}
			results <- err
		}()
	}
	for range soakVMs {
		err = errors.Join(err, <-results)
	}
	for _, c := range counts {
		sum.completed += c.completed
		sum.cancelled += c.cancelled
	}
	return sum, errors.Join(err, ctx.Err())
}

// cycle is one backup: every fourth completes and is deleted, the others are cancelled right after their start.
func cycle(ctx context.Context, h *hub.Hub, vm string, n int, c *soakCounts) error {
	b, err := h.Client.StartBackup(ctx, rpc.StartRequest{VMName: vm, BackupType: rpc.Full})
	if err != nil {
		return err
	}
	if n%4 != 0 {
		if _, err := h.Client.CancelBackup(ctx, b.BackupID); err != nil {
			return err
		}
	}
	ended, err := h.Ended(ctx, b.BackupID)
	switch {
	case err != nil:
		return err
	case ended.State == rpc.Cancelled:
		c.cancelled++
		return nil
	case ended.State == rpc.Completed:
		c.completed++
		return h.Client.DeleteBackup(ctx, rpc.DeleteRequest{BackupID: b.BackupID})
	}
	return fmt.Errorf("backup %s is %s: %+v", b.BackupID, ended.State, ended.Failure)
}

// settled waits until the daemon is idle: two readings in a row are the same, and garbage has been collected since, which happens at
// least every two minutes.
func settled(ctx context.Context, h *hub.Hub) (r hub.Rest, err error) {
	var last hub.Rest
	err = host.Eventually(ctx, "the daemon is idle", func() bool {
		last = r
		time.Sleep(500 * time.Millisecond)
		r = hub.Rest{}
		return h.Sizes(&r) == nil && r.Goroutines == last.Goroutines && r.Files == last.Files
	})
	for idle := time.Now(); err == nil && r.Collected <= float64(idle.Unix()); err = h.Sizes(&r) {
		if time.Since(idle) > 2*host.Patience {
			return r, errors.New("no garbage collection")
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
	return r, err
}

// unchanged fails if something has grown.
func unchanged(before, after hub.Rest) error {
	// Idle connections and waiting workers cause a difference of some goroutines and files. A leak in every hundredth backup is larger.
	const slack = 10
	// With such a small heap the collector's goal varies by a few MiB.
	const heapSlack = 6
	if after.Heap > before.Heap+heapSlack {
		return fmt.Errorf("the heap grew from %.1f to %.1f MiB", before.Heap, after.Heap)
	}
	if after.Goroutines > before.Goroutines+slack || after.Files > before.Files+slack {
		return fmt.Errorf("goroutines grew from %.0f to %.0f, open files from %.0f to %.0f", before.Goroutines, after.Goroutines, before.Files, after.Files)
	}
	out, err := exec.Command("systemctl", "list-units", "--plain", "--no-legend", "--all", "sendense-nbd-*").Output()
	if err != nil {
		return err
	}
	if left := strings.TrimSpace(string(out)); left != "" {
		return fmt.Errorf("units are left:\n%s", left)
	}
	return nil
}
