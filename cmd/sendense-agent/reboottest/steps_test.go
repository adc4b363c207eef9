package reboottest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/rpc"
)

const (
	finished = "finished" // the VM whose backup is complete when the host goes down
	running  = "running"  // the one that is in mid copy
)

// before leaves a restore point, and a backup in mid copy.
func before(ctx context.Context, dir string) error {
	h, err := start(ctx, dir)
	if err != nil {
		return err
	}
	if err := errors.Join(h.addVM(finished), h.addVM(running)); err != nil {
		return err
	}
	if _, err := h.backup(finished, rpc.Full); err != nil {
		return err
	}
	if err := h.control(http.MethodPost, "hold", url.Values{"point": {"copy/0"}}, nil); err != nil {
		return err
	}
	b, err := h.agent.StartBackup(h.ctx, rpc.StartRequest{VMName: running, BackupType: rpc.Full})
	if err != nil {
		return err
	}
	return h.control(http.MethodGet, "wait", url.Values{"job": {b.BackupID}, "for": {"copy/0"}}, nil)
}

// after looks what is left of it on the host that was restarted.
func after(ctx context.Context, dir string) error {
	h, err := start(ctx, dir)
	if err != nil {
		return err
	}
	lost, err := h.ended(running)
	if err != nil {
		return err
	}
	if lost.State != rpc.Failed || !strings.Contains(lost.Failure.Message, "the host was restarted while the backup was running") {
		return fmt.Errorf("what ran is %s: %+v", lost.State, lost.Failure)
	}
	kept, err := h.ended(finished)
	if err != nil {
		return err
	}
	if kept.State != rpc.Completed {
		return fmt.Errorf("what was finished is %s: %+v", kept.State, kept.Failure)
	}
	if err := errors.Join(h.compare(kept), h.nothingLeft(lost), h.late(lost)); err != nil {
		return err
	}
	if err := errors.Join(h.addVM(finished), h.addVM(running)); err != nil { // the simulator forgets them
		return err
	}
	next, err := h.backup(finished, rpc.Incremental)
	if err != nil {
		return err
	}
	if next.ParentBackupID != kept.BackupID {
		return fmt.Errorf("the next backup stands on %q, not on %s", next.ParentBackupID, kept.BackupID)
	}
	return errors.Join(h.compare(next), h.soundDatabase())
}

// nothingLeft looks that the backup that ran has left no unit, lease or directory.
func (h *host) nothingLeft(lost rpc.Backup) error {
	units, err := exec.CommandContext(h.ctx, "systemctl", "list-units", "--plain", "--no-legend", "--all", "sendense-nbd-*").Output()
	if err != nil || len(units) > 0 {
		return fmt.Errorf("units are left: %s %w", units, err)
	}
	status, err := h.agent.Status(h.ctx)
	if err != nil || status.Ports.Leased > 0 {
		return fmt.Errorf("%d ports are leased: %w", status.Ports.Leased, err)
	}
	if _, err := os.Stat(filepath.Dir(lost.Directory)); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is left: %w", lost.Directory, err)
	}
	return nil
}

// late is an SBC that lives on: it connects to its export again, and reports its disk.
func (h *host) late(lost rpc.Backup) error {
	if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", lost.Disks[0].NBDPort)); err == nil {
		_ = c.Close()
		return fmt.Errorf("port %d of a lost export answers", lost.Disks[0].NBDPort)
	}
	url := "http://127.0.0.1:8082/api/v1/backups/" + lost.BackupID + "/complete"
	req, err := http.NewRequestWithContext(h.ctx, http.MethodPost, url, strings.NewReader(`{"change_id":"52 ab/1","disk_id":0,"bytes_transferred":0}`))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusConflict {
		return fmt.Errorf("a late report is answered with %s", resp.Status)
	}
	now, err := h.agent.GetBackup(h.ctx, lost.BackupID)
	if err != nil || now.State != rpc.Failed {
		return fmt.Errorf("after a late report the backup is %s: %w", now.State, err)
	}
	return nil
}

// compare looks that the images of a backup hold what the disk does, which nobody has changed.
func (h *host) compare(b rpc.Backup) error {
	out, err := exec.CommandContext(h.ctx, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", h.source(b.VMName), b.Disks[0].QCOW2Path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("backup %s: %w: %s", b.BackupID, err, out)
	}
	return nil
}

// soundDatabase stops the daemon and looks through the database.
func (h *host) soundDatabase() error {
	if out, err := exec.CommandContext(h.ctx, "systemctl", "stop", "sendense-agent").CombinedOutput(); err != nil {
		return fmt.Errorf("stopping the daemon: %w: %s", err, out)
	}
	s, err := store.Open(filepath.Join(h.dir, "state", "agent.db"), store.Options{MustExist: true})
	if err != nil {
		return err
	}
	return errors.Join(s.Check(h.ctx), s.Close())
}

// backup makes one and returns it when it is complete.
func (h *host) backup(vm string, kind rpc.BackupType) (rpc.Backup, error) {
	if _, err := h.agent.StartBackup(h.ctx, rpc.StartRequest{VMName: vm, BackupType: kind}); err != nil {
		return rpc.Backup{}, err
	}
	b, err := h.ended(vm)
	if err == nil && b.State != rpc.Completed {
		err = fmt.Errorf("backup %s is %s: %+v", b.BackupID, b.State, b.Failure)
	}
	return b, err
}

// ended waits for the end of the newest backup of a VM.
func (h *host) ended(vm string) (rpc.Backup, error) {
	for {
		page, err := h.agent.ListBackups(h.ctx, rpc.BackupQuery{VMName: vm, Limit: 1})
		if err != nil {
			return rpc.Backup{}, err
		}
		if len(page.Backups) == 1 && page.Backups[0].State.Ended() {
			return page.Backups[0], nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-h.ctx.Done():
			return rpc.Backup{}, fmt.Errorf("vm %s: %+v: %w", vm, page.Backups, h.ctx.Err())
		}
	}
}

// control speaks to the simulator.
func (h *host) control(method, what string, query url.Values, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(h.ctx, method, snaURL+"/sim/v1/"+what+"?"+query.Encode(), strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("simulator: %s: %s", what, resp.Status)
	}
	return nil
}
