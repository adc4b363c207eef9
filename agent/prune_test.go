package agent_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/retention"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// withPolicy gives the repository a policy.
func withPolicy(p config.Policy) func(*config.Config, *snatest.Options) {
	return func(c *config.Config, _ *snatest.Options) {
		p.ID = "gold"
		c.Policies = []config.Policy{p}
		c.Repositories[0].Policy = "gold"
	}
}

// prune applies the policies, or says what it would do.
func (w *world) prune(r agent.PruneRequest) agent.PruneReport {
	w.Helper()
	report, err := w.agent.Prune(w.Context(), r)
	must(w.TB, err)
	for _, p := range report.Points {
		w.Logf("%s %s: %s, %d bytes, %v", p.Action, p.BackupID, strings.Join(p.Reasons, ", "), p.Bytes, p.Failure)
	}
	return report
}

// actions are what a report says of the points of a chain, in its order.
func actions(r agent.PruneReport, chain []instant) string {
	var list []string
	for _, i := range chain {
		text := "-"
		for _, p := range r.Points {
			if p.BackupID == i.ID {
				text = string(p.Action)
			}
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

// there lists those of a chain that have a directory.
func (w *world) there(chain []instant) string {
	var list []string
	for _, i := range chain {
		text := "-"
		if _, err := os.Stat(i.Directory); err == nil {
			text = "there"
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

// TestPruneMerges: an expired restore point in the middle of a chain is merged into what stands on it, and goes; the first of a
// chain, too. A dry run says so and does nothing. What is kept is what its VM was at that instant, byte for byte, and the next
// incremental stands on it.
func TestPruneMerges(t *testing.T) {
	w := newWorld(t, withPolicy(config.Policy{KeepLast: 2, ExpiredMiddle: config.MergeMiddle}))
	chain := w.life("vm")
	dry := w.prune(agent.PruneRequest{DryRun: true, All: true})
	if got := actions(dry, chain); got != "merge merge merge keep keep" || dry.Removed != 3 || dry.Kept != 2 || dry.Merged != 1 || dry.FreedBytes <= 0 {
		t.Fatalf("would %s: %+v", got, dry)
	}
	if got := w.there(chain); got != "there there there there there" {
		t.Fatalf("after a dry run: %s", got)
	}
	done := w.prune(agent.PruneRequest{})
	if got := w.there(chain); got != "- - - there there" || done.Removed != 3 || done.Failed != 0 || done.Merged != 1 {
		t.Errorf("there: %s, %+v", got, done)
	}
	w.whole(chain[3:]...)
	if again := w.prune(agent.PruneRequest{}); again.Removed+again.Merged+len(again.Points) != 0 || again.Kept != 2 {
		t.Errorf("there is more to do: %+v", again)
	}
	if next := w.point("vm", record.Incremental); next.Parent != chain[4].ID {
		t.Errorf("the next one stands on %s", next.Parent)
	}
	w.whole(chain[3:]...)
}

// TestPruneKeepsChains: where the policy does not merge, an expired restore point stays until what stands on it goes; a chain
// goes as a whole.
func TestPruneKeepsChains(t *testing.T) {
	w := newWorld(t, withPolicy(config.Policy{KeepLast: 1}))
	_, sources := w.putVM("vm", 8<<20)
	var chain []instant
	for _, kind := range []record.Type{record.Full, record.Incremental, record.Full, record.Incremental} {
		scribble(t, sources[0], int64(len(chain)+1)<<20)
		chain = append(chain, instant{w.point("vm", kind), freeze(t, sources)})
	}
	report := w.prune(agent.PruneRequest{VMName: "vm", All: true})
	if got := actions(report, chain); got != "delete delete wait keep" || report.Removed != 2 || report.FreedBytes < 1<<20 {
		t.Errorf("%s, %+v", got, report)
	}
	if got := w.there(chain); got != "- - there there" {
		t.Errorf("there: %s", got)
	}
	w.whole(chain[2:]...)
}

// TestPruneOfADamagedChain: what stands on a damaged restore point counts for no rule, so that the newest good one and its chain are not
// given up for it; it is left to a person.
func TestPruneOfADamagedChain(t *testing.T) {
	w := newWorld(t, withPolicy(config.Policy{KeepLast: 1}))
	_, sources := w.putVM("vm", 8<<20)
	var chain []instant
	for _, kind := range []record.Type{record.Full, record.Incremental, record.Full, record.Incremental} {
		scribble(t, sources[0], int64(len(chain)+1)<<20)
		chain = append(chain, instant{w.point("vm", kind), freeze(t, sources)})
	}
	image := chain[2].Runs[0].Image
	flip(t, image, dataOffset(t, image), 3)
	w.verify(chain[2].Backup, true)
	report := w.prune(agent.PruneRequest{VMName: "vm", All: true})
	if got := actions(report, chain); got != "wait keep keep keep" || report.Removed != 0 {
		t.Errorf("%s, %+v", got, report)
	}
	if reason := strings.Join(report.Points[0].Reasons, ", "); report.Points[0].BackupID != chain[3].ID || !strings.Contains(reason, "stands on "+chain[2].ID+", which is damaged") {
		t.Errorf("%s is kept, because %s", report.Points[0].BackupID, reason)
	}
	w.whole(chain[:2]...)
}

// TestPruneHeeds: what is young, what has no policy, and what is read stays.
func TestPruneHeeds(t *testing.T) {
	w := newWorld(t, withPolicy(config.Policy{KeepLast: 1}), func(c *config.Config, _ *snatest.Options) {
		c.Policies = append(c.Policies, config.Policy{ID: "locked", KeepLast: 1, MinAge: config.AgeOf(24 * time.Hour)})
	})
	w.putVM("vm", 4<<20)
	start := func(policy string) instant {
		b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main", Policy: policy})
		must(t, err)
		return instant{Backup: w.wait(b.ID)}
	}
	chain := []instant{start("locked"), start("gold"), start("locked"), start("gold")}
	r, err := w.agent.StartRestore(t.Context(), agent.RestoreRequest{BackupID: chain[1].ID})
	must(t, err)
	report := w.prune(agent.PruneRequest{All: true})
	if got := actions(report, chain); got != "keep wait keep keep" || report.Removed != 0 {
		t.Errorf("%s, %+v", got, report)
	}
	_, err = w.agent.StopRestore(t.Context(), r.ID)
	must(t, err)
	w.prune(agent.PruneRequest{})
	if got := w.there(chain); got != "there - there there" {
		t.Errorf("there: %s", got)
	}
}

// TestUnknownPolicy: a backup for a policy that is not there is refused, and nothing is begun.
func TestUnknownPolicy(t *testing.T) {
	w := newWorld(t, withPolicy(config.Policy{KeepLast: 1}))
	w.putVM("vm", 4<<20)
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main", Policy: "golf"})
	var e *agent.Error
	if !errors.As(err, &e) || e.Reason != agent.InvalidRequest || !strings.Contains(e.Message, `policy_id "golf"`) || e.Hint == "" {
		t.Errorf("%v", err)
	}
	if list, _, err := w.agent.Backups(agent.ListQuery{}); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestPruneFollowsNoLink: whatever stands in a repository in the place of a directory or beside an image, nothing outside it is
// removed.
func TestPruneFollowsNoLink(t *testing.T) {
	w := newWorld(t, withPolicy(config.Policy{KeepLast: 1}))
	w.putVM("vm", 4<<20)
	first, second, last := w.point("vm", record.Full), w.point("vm", record.Full), w.point("vm", record.Full)
	outside := filepath.Join(w.dir, "outside") // on the same file system, so that a rename leads there
	must(t, os.Mkdir(outside, 0o755))
	precious := filepath.Join(outside, "precious")
	must(t, os.WriteFile(precious, []byte("x"), 0o600))
	// Within a directory that goes: links of both kinds, to a file and to a directory.
	must(t, os.Symlink(outside, filepath.Join(first.Directory, "dir")))
	must(t, os.Symlink(precious, filepath.Join(first.Directory, "file")))
	// In the place of one that goes.
	aside := filepath.Join(outside, "aside")
	must(t, os.Rename(second.Directory, aside))
	must(t, os.Symlink(aside, second.Directory))
	report := w.prune(agent.PruneRequest{})
	if report.Removed != 1 || report.Failed != 1 || report.Kept != 2 {
		t.Errorf("%+v", report)
	}
	for _, path := range []string{precious, filepath.Join(aside, "manifest.json"), filepath.Join(aside, filepath.Base(second.Runs[0].Image)), last.Runs[0].Image} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%v", err)
		}
	}
	if _, err := os.Lstat(first.Directory); err == nil {
		t.Errorf("%s is there", first.Directory)
	}
	must(t, os.Remove(second.Directory))
	must(t, os.Rename(aside, second.Directory))
	if report := w.prune(agent.PruneRequest{}); report.Removed != 1 || report.Failed != 0 {
		t.Errorf("once it is put back: %+v", report)
	}
}

// TestPruneReport: what is told of a restore point is enough to know what goes and why.
func TestPruneReport(t *testing.T) {
	w := newWorld(t, withPolicy(config.Policy{KeepLast: 1, KeepDaily: 1}))
	w.putVM("vm", 4<<20)
	first, second := w.point("vm", record.Full), w.point("vm", record.Full)
	report := w.prune(agent.PruneRequest{DryRun: true})
	if len(report.Points) != 1 {
		t.Fatalf("%+v", report)
	}
	p := report.Points[0]
	if p.BackupID != first.ID || p.Action != retention.Delete || p.Policy != "gold" || p.Bytes < 1<<20 || len(p.Reasons) == 0 || p.Removed {
		t.Errorf("%+v", p)
	}
	report = w.prune(agent.PruneRequest{DryRun: true, All: true})
	day := second.CreatedAt.Local().Format("2006-01-02")
	if reasons := strings.Join(report.Points[0].Reasons, ", "); reasons != "last #1, daily "+day {
		t.Errorf("the newest is kept for %q", reasons)
	}
	_, err := w.agent.Prune(t.Context(), agent.PruneRequest{VMName: "nobody"})
	var e *agent.Error
	if !errors.As(err, &e) || e.Reason != agent.VMNotFound {
		t.Errorf("%v", err)
	}
}
