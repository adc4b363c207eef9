package commands_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"github.com/sendense/backup-agent/rpc"
)

// canceler is one method that cancels.
type canceler func(ctx context.Context, backupID string) (rpc.Backup, error)

// TestCancelMeansOneThing: backup.cancel_verify stops a verification only and backup.cancel_merge a merge only; both say so when there
// is none. backup.cancel stops either, as it always did.
func TestCancelMeansOneThing(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	full := h.Point("pgtest1", rpc.Full)
	id := h.Point("pgtest1", rpc.Incremental)
	c := h.Dial()
	verify, merge := canceler(c.CancelVerify), canceler(c.CancelMerge)
	refusesCancel(h, verify, id, rpc.ReasonWrongState, "no verification of it is in progress")
	refusesCancel(h, merge, id, rpc.ReasonWrongState, "no merge of it is in progress")
	refusesCancel(h, c.CancelBackup, id, rpc.ReasonWrongState, "only an active backup can be canceled")
	refusesCancel(h, verify, "nosuch", rpc.ReasonBackupNotFound, "nosuch")
	refusesCancel(h, merge, "nosuch", rpc.ReasonBackupNotFound, "nosuch")

	for _, stop := range []canceler{verify, c.CancelBackup} {
		done := verifiesSlowly(h, id)
		refusesCancel(h, merge, id, rpc.ReasonWrongState, "no merge of it is in progress")
		cancels(h, stop, id, rpc.Completed)
		stopped(h, done, "the verification was canceled")
	}

	r, err := c.StartRestore(t.Context(), rpc.RestoreRequest{BackupID: id})
	hubtest.Must(t, err)
	for _, stop := range []canceler{merge, c.CancelBackup} {
		done := mergesUntilRead(h, id)
		refusesCancel(h, verify, id, rpc.ReasonWrongState, "no verification of it is in progress")
		cancels(h, stop, id, rpc.Completed)
		stopped(h, done, "canceled")
		if b, err := c.GetBackup(t.Context(), id); err != nil || b.ParentBackupID != full || b.Merge != nil {
			t.Errorf("after its merge was canceled it is %+v, %v", b, err)
		}
	}
	_, err = c.StopRestore(t.Context(), r.RestoreID)
	hubtest.Must(t, err)

	active := h.Held("pgtest1", "copy/0")
	refusesCancel(h, verify, active, rpc.ReasonWrongState, "no verification of it is in progress")
	refusesCancel(h, merge, active, rpc.ReasonWrongState, "no merge of it is in progress")
	cancels(h, c.CancelBackup, active, rpc.Cancelled)
}

// TestCancelCommands: the command line has the same forms, and the old name of a synthetic full works.
func TestCancelCommands(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	h.Point("pgtest1", rpc.Full)
	id, last := h.Point("pgtest1", rpc.Incremental), h.Point("pgtest1", rpc.Incremental)
	h.Steps(
		hubtest.Step(hubtest.Words("backup cancel --merge "+id), 1, "", "no merge of it is in progress"),
		hubtest.Step(hubtest.Words("backup cancel --verify "+id), 1, "", "no verification of it is in progress"),
		hubtest.Step(hubtest.Words("backup cancel --verify --merge "+id), 2, "", "merge verify"),
	)
	done := verifiesSlowly(h, id)
	h.Steps(hubtest.Step(hubtest.Words("backup cancel --verify "+id), 0, id, ""))
	stopped(h, done, "the verification was canceled")

	r, err := h.Dial().StartRestore(t.Context(), rpc.RestoreRequest{BackupID: id})
	hubtest.Must(t, err)
	done = mergesUntilRead(h, id)
	h.Steps(hubtest.Step(hubtest.Words("backup cancel --merge "+id), 0, id, ""))
	stopped(h, done, "canceled")
	_, err = h.Dial().StopRestore(t.Context(), r.RestoreID)
	hubtest.Must(t, err)
	h.Steps(
		hubtest.Step(hubtest.Words("backup synthetic-full "+id), 0, "is a full backup", ""),
		hubtest.Step(hubtest.Words("backup consolidate "+last), 0, "is a full backup", ""),
	)
	var b rpc.Backup // of the method's old name; it is a full backup already
	if err := h.Dial().Call(t.Context(), rpc.MethodBackupConsolidate, rpc.BackupRef{BackupID: last}, &b); err != nil || b.BackupType != rpc.Full || b.ParentBackupID != "" {
		t.Errorf("%+v, %v", b, err)
	}
}

func refusesCancel(h *hubtest.Hub, cancel canceler, id string, reason rpc.Reason, words string) {
	h.Helper()
	var e *rpc.Error
	if b, err := cancel(h.Context(), id); !errors.As(err, &e) || e.Data.Reason != reason || !strings.Contains(e.Message, words) || !strings.Contains(e.Message, id) {
		h.Errorf("cancel of %s: %s, %v; want %s: %s", id, b.State, err, reason, words)
	}
}

func cancels(h *hubtest.Hub, cancel canceler, id string, state rpc.BackupState) {
	h.Helper()
	if b, err := cancel(h.Context(), id); err != nil || b.BackupID != id || b.State != state {
		h.Errorf("cancel of %s: %q is %s, %v; want %s", id, b.BackupID, b.State, err, state)
	}
}

// stopped checks what a caller is told whose work was canceled.
func stopped(h *hubtest.Hub, done <-chan error, words string) {
	h.Helper()
	var e *rpc.Error
	if err := <-done; !errors.As(err, &e) || e.Data.Reason != rpc.ReasonWrongState || !strings.Contains(e.Message, words) {
		h.Errorf("the caller is told %v, want %s", err, words)
	}
}

// verifiesSlowly begins a verification that does not end by itself.
func verifiesSlowly(h *hubtest.Hub, id string) <-chan error {
	h.Helper()
	c, done, reads := h.Dial(), make(chan error, 1), make(chan struct{}, 1000)
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
func mergesUntilRead(h *hubtest.Hub, id string) <-chan error {
	h.Helper()
	c, done := h.Dial(), make(chan error, 1)
	go func() {
		_, err := c.SyntheticFull(h.Context(), id)
		done <- err
	}()
	h.Eventually("the merge of "+id+" waits", func() bool {
		b, err := h.Dial().GetBackup(h.Context(), id)
		hubtest.Must(h.T, err)
		return b.Merge != nil && strings.Contains(b.Merge.WaitsFor, "restore")
	})
	return done
}
