package merge_test

import (
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/prune"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/retention"
)

// TestReaderHoldsUpNoOther: a restore of one VM delays the merges of its own chain and no others. Other VMs are merged and pruned
// meanwhile.
func TestReaderHoldsUpNoOther(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 1, ExpiredMiddle: config.MergeMiddle}))
	a, b, c := w.Chains.ThreePoints("a"), w.Chains.ThreePoints("b"), w.Chains.ThreePoints("c")
	r, err := w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: a[2].ID})
	agenttest.Must(t, err)
	last := w.Merges.Start(a[2].ID)
	w.Merges.WaitsFor(a[2].ID, "restore "+r.ID)

	middle := w.Merges.Start(a[1].ID) // of the same chain: it waits for the other
	w.Merges.WaitsFor(a[1].ID, a[2].ID)
	agenttest.Must(t, <-w.Merges.Start(b[1].ID))
	if report := w.Prune(prune.Request{VMName: "c"}); report.Removed != 2 || report.Merged != 1 {
		t.Errorf("prune of another VM: %+v", report)
	}
	report := w.Prune(prune.Request{All: true})
	if got := agenttest.Actions(report, a); got != "wait wait keep" || w.Chains.There(b) != "- - there" || report.Failed != 0 {
		t.Errorf("prune of everything: %s, of b: %s, %+v", got, w.Chains.There(b), report)
	}
	w.Chains.Whole(b[2], c[2])

	w.Merges.Canceled(a[1].ID, middle)
	w.Merges.Canceled(a[2].ID, last)
	w.Merges.AsBefore(a)
	last = w.Merges.Start(a[2].ID)
	w.Merges.WaitsFor(a[2].ID, "restore "+r.ID)
	w.Restores.Compare(r, a[2].Disks)
	_, err = w.Agent.Restores.Stop(t.Context(), r.ID)
	agenttest.Must(t, err)
	agenttest.Must(t, <-last)
	w.Chains.Whole(a...)
	if b, err := w.Agent.Records.Backup(a[2].ID); err != nil || b.Type != record.Full {
		t.Errorf("it is %s, %v", b.Type, err)
	}
}

// TestPruneComesBack: a restore begins while a prune is in progress. The prune does everything else first, then what waited for the restore.
func TestPruneComesBack(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 1, ExpiredMiddle: config.MergeMiddle}))
	a, b := w.Chains.ThreePoints("a"), w.Chains.ThreePoints("b")
	done, restore := w.PruneAndRead(a)
	w.Eventually("the other VM is pruned meanwhile", func() bool { return w.Chains.There(b) == "- - there" })
	if got := w.Chains.There(a); got != "there there there" {
		t.Errorf("of a there is %s", got)
	}
	_, err := w.Agent.Restores.Stop(t.Context(), restore)
	agenttest.Must(t, err)
	if report := <-done; report.Removed != 4 || report.Merged != 2 || report.Failed != 0 || report.Kept != 2 {
		t.Errorf("%+v", report)
	}
	w.Chains.Whole(a[2], b[2])
}

// TestPruneLeavesReaders: a prune does not wait for a reader that stays. It names what waits. The merge continues without the prune,
// and the next prune removes the expired restore points.
func TestPruneLeavesReaders(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 1, ExpiredMiddle: config.MergeMiddle}))
	a := w.Chains.ThreePoints("a")
	done, restore := w.PruneAndRead(a)
	report := <-done
	if got := agenttest.Actions(report, a); got != "wait wait keep" || report.Removed != 0 || report.Failed != 0 || report.Merged != 0 || report.Kept != 3 {
		t.Errorf("%s, %+v", got, report)
	}
	for _, p := range report.Points {
		if reasons := strings.Join(p.Reasons, "; "); p.Action == retention.Wait && !strings.Contains(reasons, "waits for restore "+restore) {
			t.Errorf("%s waits, because %s", p.BackupID, reasons)
		}
	}
	_, err := w.Agent.Restores.Stop(t.Context(), restore)
	agenttest.Must(t, err)
	w.Eventually("the merge is done", func() bool {
		p, err := w.Agent.Records.Backup(a[2].ID)
		agenttest.Must(t, err)
		return p.Type == record.Full && p.Merge == nil
	})
	if report := w.Prune(prune.Request{}); report.Removed != 2 || report.Kept != 1 {
		t.Errorf("the next run: %+v", report)
	}
	w.Chains.Whole(a[2])
}
