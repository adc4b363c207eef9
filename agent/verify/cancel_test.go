package verify_test

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/verify"
)

// TestVerifyCancelled: a cancel ends a verification that would take hours within seconds, for all who wait for it. The verification
// records nothing and pins nothing. The next request starts a new one.
func TestVerifyCancelled(t *testing.T) {
	w := agenttest.New(t)
	points := w.Chains.TwoDisks()
	top := points[2]
	marks := func() (list []*record.Verification) {
		for _, p := range points {
			b, err := w.Agent.Records.Backup(p.ID)
			agenttest.Must(t, err)
			list = append(list, b.Verified)
		}
		return list
	}
	before := marks()
	slow := verify.Request{BackupID: top.ID, Deep: true, RateLimit: 1}
	first, err := w.Agent.Verifications.Start(slow)
	agenttest.Must(t, err)
	joined, err := w.Agent.Verifications.Start(slow)
	agenttest.Must(t, err)
	w.Eventually("it reads", func() bool { return first.Progress().File != "" })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if b, err := w.Agent.Backups.Cancel(ctx, top.ID); err != nil || b.State != record.Completed {
		t.Errorf("%s, %v", b.State, err)
	}
	for _, v := range []*verify.Verification{first, joined} {
		_, err := v.Wait(ctx)
		agenttest.WantError(t, err, fault.WrongState, "the verification was canceled")
	}
	if after := marks(); !reflect.DeepEqual(after, before) {
		t.Errorf("on record: %+v, was %+v", after, before)
	}
	_, err = w.Agent.Backups.Cancel(ctx, top.ID) // none is in progress any more
	agenttest.WantError(t, err, fault.WrongState, "only an active backup can be canceled")
	agenttest.WantVerified(t, w.Verify(top, true), record.VerifiedOK, nil)
	agenttest.Must(t, w.Delete(top.ID))
}
