package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/host"
	"github.com/sendense/backup-agent/cmd/internal/bench/hub"
	"github.com/sendense/backup-agent/cmd/internal/bench/rawdisk"
	"github.com/sendense/backup-agent/rpc"
)

const oneRead = "dd, one sequential read"

// endings are the backups of which the end is measured.
var endings = []struct {
	disks int
	kind  rpc.BackupType
	what  string
}{
	{1, rpc.Full, "full"},
	{4, rpc.Full, "full"},
	{16, rpc.Full, "full"},
	{1, rpc.Incremental, "copied whole again, nothing changed"},
	{4, rpc.Incremental, "copied whole again, nothing changed"},
}

// measureEnd measures what the end of a backup reads.
func measureEnd(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title: "The end of a backup",
		Method: fmt.Sprintf("A client copies disks of random data, %d MiB together, whole. Milliseconds from the moment at which it has reported the last disk until the "+
			"backup is completed: flush, end of the exporters, check, digest and manifest; if the parent has the same data, the image is compared with it as "+
			"well. Beside it dd reads what was written, once, image by image, with O_DIRECT and requests of 4 MiB. And what was read from the disk "+
			"meanwhile, by everything on the machine, over what was written.", s.size>>20),
		Head: []string{"disks", "backup", "way", "ms", "agent / it", "read / written"},
	}
	h, err := hub.New(ctx, s.programs, filepath.Join(s.disk, "end"))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	for i, e := range endings {
		m := ending{h: h, vm: fmt.Sprintf("vm%d", i), kind: e.kind}
		if err := m.prepare(ctx, e.disks, s.size); err != nil {
			return p, err
		}
		all := []figures.Contender{{Name: ours, Run: m.measure}, {Name: oneRead, Run: m.readOnce}}
		t, err := figures.TakeTurns(ctx, s.rounds, all)
		if err != nil {
			return p, fmt.Errorf("%d disks, %s: %w", e.disks, e.what, err)
		}
		p.Add(strconv.Itoa(e.disks), e.what, ours, t.Of(ours).String(), "", figures.SpreadOf(m.read).String())
		p.Add(strconv.Itoa(e.disks), e.what, oneRead, t.Of(oneRead).String(), t.Ratio(ours, oneRead).String(), "")
	}
	return p, nil
}

// An ending is a VM whose backups are measured at their end.
type ending struct {
	h      *hub.Hub
	vm     string
	kind   rpc.BackupType
	last   string    // the last full backup
	images []string  // its images
	read   []float64 // from the disk, over what was written, by round
}

// prepare makes the VM, and a full backup of it.
func (e *ending) prepare(ctx context.Context, disks int, size int64) error {
	size = size / int64(disks) / rawdisk.Block * rawdisk.Block
	if err := e.h.PutVM(ctx, e.vm, disks, size); err != nil {
		return err
	}
	for i := range disks {
		if err := rawdisk.WriteSource(e.h.Source(e.vm, i), "random", size); err != nil {
			return err
		}
	}
	if e.kind == rpc.Full {
		return nil
	}
	b, _, err := e.run(ctx, rpc.Full)
	return errors.Join(err, e.note(ctx, b))
}

// note remembers a full backup in place of the one before, which it deletes.
func (e *ending) note(ctx context.Context, b rpc.Backup) (err error) {
	if e.last != "" {
		err = e.h.Client.DeleteBackup(ctx, rpc.DeleteRequest{BackupID: e.last})
	}
	e.last, e.images = b.BackupID, nil
	for _, d := range b.Disks {
		e.images = append(e.images, d.QCOW2Path)
	}
	return err
}

// measure makes a backup.
func (e *ending) measure(ctx context.Context) (time.Duration, error) {
	if e.kind == rpc.Incremental {
		if err := e.h.ResetTracking(e.vm); err != nil {
			return 0, err
		}
	}
	b, took, err := e.run(ctx, e.kind)
	if err == nil && e.kind == rpc.Full {
		err = e.note(ctx, b)
	}
	return took, err
}

// run makes a backup, and returns how long its end took.
func (e *ending) run(ctx context.Context, kind rpc.BackupType) (b rpc.Backup, took time.Duration, err error) {
	started, err := e.h.Client.StartBackup(ctx, rpc.StartRequest{VMName: e.vm, BackupType: kind})
	if err != nil {
		return b, 0, err
	}
	var began time.Time
	var before int64
	for !b.State.Ended() {
		if b, err = e.h.Client.GetBackup(ctx, started.BackupID); err != nil {
			return b, 0, err
		}
		if began.IsZero() && b.State == rpc.Finishing {
			began = time.Now()
			if before, err = host.ReadFrom(e.h.Dir); err != nil {
				return b, 0, err
			}
		}
		time.Sleep(time.Millisecond)
	}
	took = time.Since(began)
	if b.State != rpc.Completed {
		return b, took, fmt.Errorf("backup %s is %s: %+v", b.BackupID, b.State, b.Failure)
	}
	after, err := host.ReadFrom(e.h.Dir)
	e.read = append(e.read, float64(after-before)/float64(b.TotalBytes))
	return b, took, err
}

// readOnce reads the images of the last full backup.
func (e *ending) readOnce(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	for _, image := range e.images {
		if err := host.Run(ctx, "dd", "if="+image, "of=/dev/null", "bs=4M", "iflag=direct", "status=none"); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}
