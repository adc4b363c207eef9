package agent_test

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/record"
)

// TestVerifyCancelled: a verification that would take hours ends in seconds for all who wait for it, marks nothing, and holds nothing;
// what is asked for then is another one.
func TestVerifyCancelled(t *testing.T) {
	w := newWorld(t)
	points := w.chain()
	top := points[2]
	marks := func() (list []*record.Verification) {
		for _, p := range points {
			b, err := w.agent.Backup(p.ID)
			must(t, err)
			list = append(list, b.Verified)
		}
		return list
	}
	before := marks()
	slow := agent.VerifyRequest{BackupID: top.ID, Deep: true, RateLimit: 1}
	first, err := w.agent.Verify(slow)
	must(t, err)
	joined, err := w.agent.Verify(slow)
	must(t, err)
	w.eventually("it reads", func() bool { return first.Progress().File != "" })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if b, err := w.agent.CancelBackup(ctx, top.ID); err != nil || b.State != record.Completed {
		t.Errorf("%s, %v", b.State, err)
	}
	for _, v := range []*agent.Verification{first, joined} {
		_, err := v.Wait(ctx)
		wantError(t, err, agent.WrongState, "its verification was cancelled")
	}
	if after := marks(); !reflect.DeepEqual(after, before) {
		t.Errorf("on record: %+v, was %+v", after, before)
	}
	_, err = w.agent.CancelBackup(ctx, top.ID) // there is none any more
	wantError(t, err, agent.WrongState, "only an active backup can be cancelled")
	wantVerified(t, w.verify(top, true), agent.VerifiedOK, nil)
	must(t, w.delete(top.ID))
}
