package hub

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/rawdisk"
	"github.com/sendense/backup-agent/rpc"
)

// RestorePoint makes a VM of one disk and a complete backup of it. It returns the path of the image.
func (h *Hub) RestorePoint(ctx context.Context, vm string, size int64) (string, error) {
	if err := h.PutVM(ctx, vm, 1, size); err != nil {
		return "", err
	}
	source := filepath.Join(h.Dir, vm+"-0.raw")
	if err := rawdisk.WriteSource(source, "sparse", size); err != nil {
		return "", err
	}
	return h.Complete(ctx, vm, rpc.Full)
}

// Complete makes a complete backup of a VM of one disk.
func (h *Hub) Complete(ctx context.Context, vm string, kind rpc.BackupType) (string, error) {
	b, err := h.Client.StartBackup(ctx, rpc.StartRequest{VMName: vm, BackupType: kind})
	if err != nil {
		return "", err
	}
	ended, err := h.Ended(ctx, b.BackupID)
	if err == nil && ended.State != rpc.Completed {
		err = fmt.Errorf("backup %s is %s: %+v", b.BackupID, ended.State, ended.Failure)
	}
	if err != nil {
		return "", err
	}
	return ended.Disks[0].QCOW2Path, nil
}

// TimeStart starts a backup, and cancels it.
func (h *Hub) TimeStart(ctx context.Context, vm string, kind rpc.BackupType) (time.Duration, error) {
	began := time.Now()
	b, err := h.Client.StartBackup(ctx, rpc.StartRequest{VMName: vm, BackupType: kind})
	took := time.Since(began)
	if err != nil {
		return took, err
	}
	return took, h.Cancel(ctx, b.BackupID)
}
