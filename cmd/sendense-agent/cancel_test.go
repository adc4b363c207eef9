package main_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/rpc"
)

// canceler is one method that cancels.
type canceler func(ctx context.Context, backupID string) (rpc.Backup, error)

// TestCancelMeansOneThing: backup.cancel_verify stops a verification only and backup.cancel_merge a merge only; both say so when there
// is none. backup.cancel stops either, as it always did.
func TestCancelMeansOneThing(t *testing.T) {
	h := newHub(t)
	h.addVM("pgtest1", diskSize)
	full := h.point("pgtest1", rpc.Full)
	id := h.point("pgtest1", rpc.Incremental)
	c := h.dial()
	verify, merge := canceler(c.CancelVerify), canceler(c.CancelMerge)
	h.refusesCancel(verify, id, rpc.ReasonWrongState, "no verification of it is in progress")
	h.refusesCancel(merge, id, rpc.ReasonWrongState, "no merge of it is in progress")
	h.refusesCancel(c.CancelBackup, id, rpc.ReasonWrongState, "only an active backup can be cancelled")
	h.refusesCancel(verify, "nosuch", rpc.ReasonBackupNotFound, "nosuch")
	h.refusesCancel(merge, "nosuch", rpc.ReasonBackupNotFound, "nosuch")

	for _, stop := range []canceler{verify, c.CancelBackup} {
		done := h.verifiesSlowly(id)
		h.refusesCancel(merge, id, rpc.ReasonWrongState, "no merge of it is in progress")
		h.cancels(stop, id, rpc.Completed)
		h.stopped(done, "its verification was cancelled")
	}

	r, err := c.StartRestore(t.Context(), rpc.RestoreRequest{BackupID: id})
	must(t, err)
	for _, stop := range []canceler{merge, c.CancelBackup} {
		done := h.mergesUntilRead(id)
		h.refusesCancel(verify, id, rpc.ReasonWrongState, "no verification of it is in progress")
		h.cancels(stop, id, rpc.Completed)
		h.stopped(done, "cancelled")
		if b, err := c.GetBackup(t.Context(), id); err != nil || b.ParentBackupID != full || b.Rewrite != nil {
			t.Errorf("after its merge was canceled it is %+v, %v", b, err)
		}
	}
	_, err = c.StopRestore(t.Context(), r.RestoreID)
	must(t, err)

	active := h.held("pgtest1", "copy/0")
	h.refusesCancel(verify, active, rpc.ReasonWrongState, "no verification of it is in progress")
	h.refusesCancel(merge, active, rpc.ReasonWrongState, "no merge of it is in progress")
	h.cancels(c.CancelBackup, active, rpc.Cancelled)
}

// TestCancelCommands: the command line has the same forms, and the old name of a synthetic full works.
func TestCancelCommands(t *testing.T) {
	h := newHub(t)
	h.addVM("pgtest1", diskSize)
	h.point("pgtest1", rpc.Full)
	id, last := h.point("pgtest1", rpc.Incremental), h.point("pgtest1", rpc.Incremental)
	h.steps(
		step{words("backup cancel --merge " + id), 1, "", "no merge of it is in progress"},
		step{words("backup cancel --verify " + id), 1, "", "no verification of it is in progress"},
		step{words("backup cancel --verify --merge " + id), 2, "", "merge verify"},
	)
	done := h.verifiesSlowly(id)
	h.steps(step{words("backup cancel --verify " + id), 0, id, ""})
	h.stopped(done, "its verification was cancelled")

	r, err := h.dial().StartRestore(t.Context(), rpc.RestoreRequest{BackupID: id})
	must(t, err)
	done = h.mergesUntilRead(id)
	h.steps(step{words("backup cancel --merge " + id), 0, id, ""})
	h.stopped(done, "cancelled")
	_, err = h.dial().StopRestore(t.Context(), r.RestoreID)
	must(t, err)
	h.steps(
		step{words("backup synthetic-full " + id), 0, "is a full backup", ""},
		step{words("backup consolidate " + last), 0, "is a full backup", ""},
	)
	var b rpc.Backup // of the method's old name; it is a full backup already
	if err := h.dial().Call(t.Context(), rpc.MethodBackupConsolidate, rpc.BackupRef{BackupID: last}, &b); err != nil || b.BackupType != rpc.Full || b.ParentBackupID != "" {
		t.Errorf("%+v, %v", b, err)
	}
}

func (h *hub) refusesCancel(cancel canceler, id string, reason rpc.Reason, words string) {
	h.Helper()
	var e *rpc.Error
	if b, err := cancel(h.Context(), id); !errors.As(err, &e) || e.Data.Reason != reason || !strings.Contains(e.Message, words) || !strings.Contains(e.Message, id) {
		h.Errorf("cancel of %s: %s, %v; want %s: %s", id, b.State, err, reason, words)
	}
}

func (h *hub) cancels(cancel canceler, id string, state rpc.BackupState) {
	h.Helper()
	if b, err := cancel(h.Context(), id); err != nil || b.BackupID != id || b.State != state {
		h.Errorf("cancel of %s: %q is %s, %v; want %s", id, b.BackupID, b.State, err, state)
	}
}

// stopped checks what a caller is told whose work was canceled.
func (h *hub) stopped(done <-chan error, words string) {
	h.Helper()
	var e *rpc.Error
	if err := <-done; !errors.As(err, &e) || e.Data.Reason != rpc.ReasonWrongState || !strings.Contains(e.Message, words) {
		h.Errorf("the caller is told %v, want %s", err, words)
	}
}

// verifiesSlowly begins a verification that does not end by itself.
func (h *hub) verifiesSlowly(id string) <-chan error {
	h.Helper()
	c, done, reads := h.dial(), make(chan error, 1), make(chan struct{}, 1000)
	go func() {
		_, err := c.VerifyBackup(h.Context(), rpc.VerifyRequest{BackupID: id, Deep: true, RateLimit: 1}, func(p rpc.VerifyProgress) {
			if p.File != "" {
				reads <- struct{}{}
			}
		})
		done <- err
	}()
	select {
	case <-reads:
	case err := <-done:
		h.Fatalf("the verification ended: %v", err)
	}
	return done
}

// mergesUntilRead begins to make a synthetic full of a restore point that a restore reads, and returns when the merge waits for that.
func (h *hub) mergesUntilRead(id string) <-chan error {
	h.Helper()
	c, done := h.dial(), make(chan error, 1)
	go func() {
		_, err := c.SyntheticFull(h.Context(), id)
		done <- err
	}()
	h.eventually("the merge of "+id+" waits", func() bool {
		b, err := h.dial().GetBackup(h.Context(), id)
		must(h.T, err)
		return b.Rewrite != nil && strings.Contains(b.Rewrite.WaitsFor, "restore")
	})
	return done
}
