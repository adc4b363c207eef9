package export

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd"
)

// A Disk is a disk of a backup or restore.
type Disk interface{ Served() record.Served }

// Disks returns what the exporters of disks serve.
func Disks[D Disk](list []D) []record.Served {
	served := make([]record.Served, len(list))
	for i, d := range list {
		served[i] = d.Served()
	}
	return served
}

// Target returns where a disk is served.
func Target(host string, d record.Served) nbd.Target {
	return nbd.Target{DiskKey: d.Key, Host: host, Port: d.Port, Export: d.ExportName}
}

// Targets returns where disks are served, in one string.
func Targets(host string, disks []record.Served) (string, error) {
	targets := make([]nbd.Target, len(disks))
	for i, d := range disks {
		targets[i] = Target(host, d)
	}
	return nbd.TargetsString(targets)
}

// maxParallelDisks limits how many disks are worked on at once. systemd gains nothing from more than 16 unit starts in flight.
const maxParallelDisks = 16

// Each calls f for each of n disks, maxParallelDisks at once. It returns the first error. If ctx has ended, it returns the cause of that
// instead.
func Each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	group, work := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelDisks)
	for i := range n {
		group.Go(func() error { return f(work, i) })
	}
	err := group.Wait()
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
