package crashtest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/rpc"
)

const diskBytes = 2 << 20

// A vm is one that is backed up: its record and the files of its disks.
type vm struct {
	record  rpc.VM
	disks   []snatest.Disk // as vCenter has them
	sources []string
}

// addVM makes a VM and tells the SNA of it; put tells the daemon.
func (h *hub) addVM(disks int) *vm {
	h.Helper()
	name := fmt.Sprintf("vm%d", names.Add(1))
	v := &vm{record: rpc.VM{VMName: name, InventoryPath: "/DC1/vm/" + name}}
	for i := range disks {
		source := filepath.Join(h.dir, fmt.Sprintf("%s-%d.raw", name, i))
		data := make([]byte, diskBytes)
		_, _ = rand.Read(data[:diskBytes/2])
		must(h.T, os.WriteFile(source, data, 0o600))
		v.sources = append(v.sources, source)
		v.record.Disks = append(v.record.Disks, rpc.Disk{DiskID: i, UnitNumber: i, CapacityBytes: diskBytes})
		v.disks = append(v.disks, snatest.Disk{Key: 2000 + i, UnitNumber: i, Source: source})
	}
	must(h.T, h.sna.SetVM(v.simulated()))
	h.vms[name] = v
	return v
}

// simulated is a VM as vCenter has it.
func (v *vm) simulated() snatest.VM {
	return snatest.VM{Name: v.record.VMName, Path: v.record.InventoryPath, Disks: slices.Clone(v.disks)}
}

func (h *hub) put(ctx context.Context, v *vm) error {
	return h.with(ctx, func(c *rpc.Client) error {
		_, err := c.PutVM(ctx, v.record)
		return err
	})
}

// scribble writes to every disk of every VM, as they go on while they are backed up.
func (h *hub) scribble() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	data := make([]byte, 4096)
	for _, v := range h.vms {
		for _, source := range v.sources {
			f, err := os.OpenFile(source, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, _ = rand.Read(data)
			_, err = f.WriteAt(data, mathrand.Int64N(diskBytes/4096)*4096)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
	}
	return nil
}

// quiesce keeps a copy of what the disks hold at the moment of a snapshot. It belongs to the job that asked last: a VM has
// one at a time, and that it has is checked by the number of POSTs.
func (h *hub) quiesce(vmPath string) func() {
	h.mu.Lock()
	for _, post := range slices.Backward(h.sna.State().Posts) {
		if post.Body["vm_path"] != vmPath {
			continue
		}
		var copies []string
		for i, source := range h.vms[filepath.Base(vmPath)].sources {
			to := filepath.Join(h.dir, "instants", fmt.Sprintf("%s-%d.raw", post.JobID, i))
			if err := copyFile(source, to); err != nil {
				h.Errorf("keeping the instant of %s: %v", post.JobID, err)
			}
			copies = append(copies, to)
		}
		h.instants[post.JobID] = copies
		break
	}
	return h.mu.Unlock
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// start asks for a backup. Every request of this package carries a request id.
func (h *hub) start(ctx context.Context, r rpc.StartRequest) (id string, err error) {
	err = h.with(ctx, func(c *rpc.Client) error {
		answer, err := c.StartBackup(ctx, r)
		id = answer.BackupID
		if err == nil {
			h.tape.mark(notice{kind: isStarted, id: id})
		}
		return err
	})
	return id, err
}

// backups lists those of a VM.
func (h *hub) backups(ctx context.Context, v *vm) (list []rpc.Backup, err error) {
	err = h.with(ctx, func(c *rpc.Client) error {
		page, err := c.ListBackups(ctx, rpc.BackupQuery{VMName: v.record.VMName, Limit: 1000})
		list = page.Backups
		for _, b := range list {
			h.tape.mark(notice{kind: isTold, id: b.BackupID, state: b.State})
		}
		return err
	})
	return list, err
}

// ended waits until every backup of every VM has ended, or is deleted if it is being deleted, every restore has,
// and no restore point is being written anew.
func (h *hub) ended(ctx context.Context) error {
	for {
		var active []any
		for _, v := range h.vms {
			list, err := h.backups(ctx, v)
			if err != nil {
				return err
			}
			for _, b := range list {
				if !b.State.Ended() || b.State == rpc.Deleting {
					active = append(active, b)
				}
			}
		}
		restores, err := h.restores(ctx)
		if err != nil {
			return err
		}
		for _, r := range restores {
			active = append(active, r)
		}
		merges, err := h.merges()
		if err != nil {
			return err
		}
		for _, m := range merges {
			active = append(active, m)
		}
		if len(active) == 0 {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("not ended: %+v: %w", active, context.Cause(ctx))
		}
	}
}

// restores are those that are active.
func (h *hub) restores(ctx context.Context) (list []rpc.Restore, err error) {
	err = h.with(ctx, func(c *rpc.Client) error {
		found, err := c.ListRestores(ctx, rpc.RestoreQuery{ActiveOnly: true})
		list = found.Restores
		return err
	})
	return list, err
}

// lookAlike starts a unit of somebody else that is named as one of the agent's: of a backup of the VM that is on record, if
// there is one by now.
func (h *hub) lookAlike(v *vm) {
	h.Helper()
	name := "sendense-nbd-backup-" + v.record.VMName + "-1-disk0-0f0f0f0f0f0f0f0f.service"
	ours, err := exporterUnits(v.record.VMName)
	must(h.T, err)
	if len(ours) > 0 {
		name = ours[0][:len(ours[0])-len(filepath.Ext(ours[0]))] + "f.service"
	}
	out, err := exec.Command("systemd-run", "--quiet", "--collect", "--slice=sendense-nbd.slice", "--unit="+name, "sleep", "infinity").CombinedOutput()
	if err != nil {
		h.Fatalf("systemd-run: %v: %s", err, out)
	}
	h.foreign = append(h.foreign, name)
}
