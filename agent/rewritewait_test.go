package agent_test

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/retention"
)

// threePoints makes a full backup of a VM and two incrementals.
func (w *world) threePoints(name string) (chain []instant) {
	w.Helper()
	_, sources := w.putVM(name, 4<<20)
	for i, kind := range []record.Type{record.Full, record.Incremental, record.Incremental} {
		scribble(w.TB, sources[0], int64(i+1)<<20)
		chain = append(chain, instant{w.point(name, kind), freeze(w.TB, sources)})
	}
	return chain
}

// waitsFor waits until a rewriting waits for somebody.
func (w *world) waitsFor(id, whom string) {
	w.Helper()
	w.eventually("rewriting of "+id+" waits for "+whom, func() bool {
		p, ok := w.agent.RewriteProgress(id)
		return ok && p.Phase == "waiting" && strings.Contains(p.WaitsFor, whom)
	})
}

// cancelled ends a rewriting, and fails the test unless its caller is told so.
func (w *world) cancelled(id string, done <-chan error) {
	w.Helper()
	_, err := w.agent.CancelBackup(w.Context(), id)
	must(w.TB, err)
	var e *agent.Error
	if err := <-done; !errors.As(err, &e) || e.Reason != agent.WrongState || !strings.Contains(err.Error(), "cancelled") {
		w.Errorf("the rewriting of %s ended with %v", id, err)
	}
}

// TestReaderHoldsUpNoOther: a restore of one VM keeps its own chain from being exchanged, and nothing else: other VMs are
// consolidated and pruned meanwhile.
func TestReaderHoldsUpNoOther(t *testing.T) {
	w := newWorld(t, withPolicy(config.Policy{KeepLast: 1, ExpiredMiddle: config.MergeMiddle}))
	a, b, c := w.threePoints("a"), w.threePoints("b"), w.threePoints("c")
	r, err := w.agent.StartRestore(t.Context(), agent.RestoreRequest{BackupID: a[2].ID})
	must(t, err)
	last := w.consolidation(a[2].ID)
	w.waitsFor(a[2].ID, "restore "+r.ID)

	middle := w.consolidation(a[1].ID) // of the same chain: after the other
	w.waitsFor(a[1].ID, a[2].ID)
	must(t, <-w.consolidation(b[1].ID))
	if report := w.prune(agent.PruneRequest{VMName: "c"}); report.Removed != 2 || report.Merged != 1 {
		t.Errorf("prune of another VM: %+v", report)
	}
	report := w.prune(agent.PruneRequest{All: true})
	if got := actions(report, a); got != "wait wait keep" || w.there(b) != "- - there" || report.Failed != 0 {
		t.Errorf("prune of everything: %s, of b: %s, %+v", got, w.there(b), report)
	}
	w.whole(b[2], c[2])

	w.cancelled(a[1].ID, middle)
	w.cancelled(a[2].ID, last)
	w.asBefore(a)
	last = w.consolidation(a[2].ID)
	w.waitsFor(a[2].ID, "restore "+r.ID)
	w.compareServed(r, a[2].disks)
	_, err = w.agent.StopRestore(t.Context(), r.ID)
	must(t, err)
	must(t, <-last)
	w.whole(a...)
	if b, err := w.agent.Backup(a[2].ID); err != nil || b.Type != record.Full {
		t.Errorf("it is %s, %v", b.Type, err)
	}
}

// pruneAndRead applies the policies to a and b, and begins to read what is kept of a while its merge is being made.
func (w *world) pruneAndRead(a []instant) (done <-chan agent.PruneReport, restoreID string) {
	w.Helper()
	reports := make(chan agent.PruneReport, 1)
	go func() {
		report, err := w.agent.Prune(w.Context(), agent.PruneRequest{All: true})
		if err != nil {
			w.Error(err)
		}
		reports <- report
	}()
	pid := 0
	w.eventually("qemu-img merges a", func() bool {
		pid = processOf("commit", filepath.Dir(a[0].Directory)+"/")
		return pid != 0 && syscall.Kill(pid, syscall.SIGSTOP) == nil
	})
	r, err := w.agent.StartRestore(w.Context(), agent.RestoreRequest{BackupID: a[2].ID})
	must(w.TB, err)
	must(w.TB, syscall.Kill(pid, syscall.SIGCONT))
	w.waitsFor(a[2].ID, "restore "+r.ID)
	return reports, r.ID
}

// TestPruneComesBack: what somebody begins to read while a run is under way waits. The run does all else, and comes back to it.
func TestPruneComesBack(t *testing.T) {
	w := newWorld(t, withPolicy(config.Policy{KeepLast: 1, ExpiredMiddle: config.MergeMiddle}))
	a, b := w.threePoints("a"), w.threePoints("b")
	done, restore := w.pruneAndRead(a)
	w.eventually("the other VM is pruned meanwhile", func() bool { return w.there(b) == "- - there" })
	if got := w.there(a); got != "there there there" {
		t.Errorf("of a there is %s", got)
	}
	_, err := w.agent.StopRestore(t.Context(), restore)
	must(t, err)
	if report := <-done; report.Removed != 4 || report.Merged != 2 || report.Failed != 0 || report.Kept != 2 {
		t.Errorf("%+v", report)
	}
	w.whole(a[2], b[2])
}

// TestPruneLeavesReaders: a run does not wait for a reader that stays. It names what waits; the merge goes on by itself, and the next
// run removes what it was for.
func TestPruneLeavesReaders(t *testing.T) {
	w := newWorld(t, withPolicy(config.Policy{KeepLast: 1, ExpiredMiddle: config.MergeMiddle}))
	a := w.threePoints("a")
	done, restore := w.pruneAndRead(a)
	report := <-done
	if got := actions(report, a); got != "wait wait keep" || report.Removed != 0 || report.Failed != 0 || report.Merged != 0 || report.Kept != 3 {
		t.Errorf("%s, %+v", got, report)
	}
	for _, p := range report.Points {
		if reasons := strings.Join(p.Reasons, "; "); p.Action == retention.Wait && !strings.Contains(reasons, "waits for restore "+restore) {
			t.Errorf("%s waits, because %s", p.BackupID, reasons)
		}
	}
	_, err := w.agent.StopRestore(t.Context(), restore)
	must(t, err)
	w.eventually("the merge is done", func() bool {
		p, err := w.agent.Backup(a[2].ID)
		must(t, err)
		return p.Type == record.Full && p.Merge == nil
	})
	if report := w.prune(agent.PruneRequest{}); report.Removed != 2 || report.Kept != 1 {
		t.Errorf("the next run: %+v", report)
	}
	w.whole(a[2])
}
