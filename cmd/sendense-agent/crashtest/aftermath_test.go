package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// aftermath waits until everything has ended, repeats the request, makes another backup, and checks all that must hold. It
// returns what became of the backup.
func (c *crash) aftermath() string {
	c.Helper()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.ended(ctx))
	c.postedOnce()
	if c.operation.after != nil {
		must(c.T, c.operation.after(ctx, c))
	}
	victim := c.victim(ctx)
	outcome := "none"
	if victim != nil {
		outcome = string(victim.State)
	}
	c.repeat(ctx, victim)
	c.another(ctx, c.vm)
	c.postedOnce()
	c.halt()
	if c.uncover != nil {
		c.uncover()
	}
	c.check()
	return outcome
}

// victim is the backup of the request, or nil when the daemon was killed before it was on record.
func (c *crash) victim(ctx context.Context) *rpc.Backup {
	c.Helper()
	list, err := c.backups(ctx, c.vm)
	must(c.T, err)
	for _, b := range list {
		if b.RequestID == c.request.RequestID {
			return &b
		}
	}
	return nil
}

// repeat asks again, as a caller does that got no answer. What is on record is the answer.
func (c *crash) repeat(ctx context.Context, victim *rpc.Backup) {
	c.Helper()
	id, err := c.startCooled(ctx, c.request)
	var said *rpc.Error
	if errors.As(err, &said) {
		id = said.Data.BackupID
	} else if err != nil {
		c.Fatal(err)
	}
	must(c.T, c.ended(ctx))
	if victim != nil {
		if id != victim.BackupID {
			c.Errorf("the request made %s; repeated it is answered with %q: %v", victim.BackupID, id, err)
		}
		return
	}
	if b := c.victim(ctx); b == nil || b.State != rpc.Completed {
		c.Errorf("nothing of the request was on record; repeated it is answered with %q, %v, and becomes %+v", id, err, b)
	}
}

// another backs a VM up, once it has cooled down.
func (h *hub) another(ctx context.Context, v *vm) {
	h.Helper()
	request := rpc.StartRequest{
		VMName: v.record.VMName, BackupType: rpc.Full, RequestID: fmt.Sprintf("another-%d", time.Now().UnixNano()),
	}
	id, err := h.startCooled(ctx, request)
	must(h.T, err)
	must(h.T, h.ended(ctx))
	list, err := h.backups(ctx, v)
	must(h.T, err)
	i := slices.IndexFunc(list, func(b rpc.Backup) bool { return b.BackupID == id })
	if i < 0 || list[i].State != rpc.Completed {
		h.Errorf("the backup after it: %s, %+v", id, list)
	}
}

// startCooled starts a backup, once the VM has cooled down.
func (h *hub) startCooled(ctx context.Context, request rpc.StartRequest) (id string, err error) {
	h.Helper()
	h.eventually("the VM has cooled down", func() bool {
		id, err = h.start(ctx, request)
		var said *rpc.Error
		if errors.As(err, &said) && said.Data.Reason == rpc.ReasonCoolingDown {
			time.Sleep(100 * time.Millisecond)
			return false
		}
		return true
	})
	return id, err
}

// postedOnce fails the test when the SNA was asked twice for the same backup.
func (h *hub) postedOnce() {
	h.Helper()
	for job, n := range h.sna.State().PostsPerJob {
		if n != 1 {
			h.Errorf("the SNA was asked %d times to start %s", n, job)
		}
	}
}

// manifests lists those of the repository.
func (h *hub) manifests() []string {
	h.Helper()
	found, err := filepath.Glob(filepath.Join(h.dir, "repository", "*", "[^.]*", "manifest.json"))
	must(h.T, err)
	return found
}

// healthy fails the test when a daemon has panicked or raced.
func (h *hub) healthy() {
	h.Helper()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(h.log(), bad) {
			h.Errorf("the daemon's log holds %q", bad)
		}
	}
}

// log is what the daemons have logged so far.
func (h *hub) log() string {
	h.Helper()
	text, err := os.ReadFile(h.run + "/log")
	must(h.T, err)
	return string(text)
}
