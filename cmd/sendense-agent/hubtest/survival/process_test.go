package survival_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// TestRepositoryProcessKilled kills the process of a repository again and again while backups are made: each one completes, or fails and
// leaves nothing. When nobody kills it any more, everything works.
func TestRepositoryProcessKilled(t *testing.T) {
	h := hubtest.New(t)
	sources := h.AddVM("vm", 4<<20, 4<<20)
	c := h.Dial()
	stop, stopped, kills := make(chan struct{}), make(chan struct{}), 0
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(50+37*(kills%11)) * time.Millisecond):
				if exec.Command("systemctl", "kill", "--signal=KILL", "sendense-repository-main-*.service").Run() == nil {
					kills++
				}
			}
		}
	}()
	ends := map[rpc.BackupState]int{}
	for range 6 {
		r, err := c.StartBackup(t.Context(), rpc.StartRequest{VMName: "vm", BackupType: rpc.Full})
		if err != nil {
			if !strings.Contains(err.Error(), "its process") {
				t.Errorf("a start: %v", err)
			}
			ends["refused"]++
			continue
		}
		var b rpc.Backup
		h.Eventually(r.BackupID+" ends", func() bool {
			var err error
			b, err = c.GetBackup(t.Context(), r.BackupID)
			hubtest.Must(t, err)
			return b.State.Ended()
		})
		if ends[b.State]++; b.State != rpc.Completed && b.Failure == nil {
			t.Errorf("%s is %s, and nobody knows why", b.BackupID, b.State)
		}
	}
	close(stop)
	<-stopped
	t.Logf("%d kills: %v", kills, ends)
	if kills == 0 {
		t.Error("no process was killed")
	}
	h.Eventually("the repository works again", func() bool {
		r, err := c.GetRepository(t.Context(), "main")
		return err == nil && r.Error == ""
	})
	last, err := c.StartBackup(t.Context(), rpc.StartRequest{VMName: "vm", BackupType: rpc.Full})
	hubtest.Must(t, err)
	h.Completes(last.BackupID, sources)
	h.Eventually("what failed backups made is removed", func() bool {
		made, err := filepath.Glob(h.Dir + "/repository/vm/*")
		hubtest.Must(t, err)
		for _, dir := range made {
			if b, err := c.GetBackup(t.Context(), filepath.Base(dir)); err != nil || b.State != rpc.Completed {
				return false
			}
		}
		return len(made) > 0
	})
	chain, err := c.Chain(t.Context(), rpc.ChainRequest{VMName: "vm"})
	hubtest.Must(t, err)
	for _, p := range chain.Points {
		if r, err := c.VerifyBackup(t.Context(), rpc.VerifyRequest{BackupID: p.BackupID, Deep: true}, nil); err != nil || r.Result != rpc.VerifyOK {
			t.Errorf("%s: %+v %v", p.BackupID, r, err)
		}
	}
}
