package prune_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/prune"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/retention"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestPruneMerges: an expired restore point in the middle or at the start of a chain is merged into its child, and removed. A dry run
// says so, and within 5 % how much that frees, and does nothing. What is kept holds its VM at that instant, byte for byte, and the next incremental is based on it.
func TestPruneMerges(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 2, ExpiredMiddle: config.MergeMiddle}))
	points := w.Chains.Life("vm")
	dry := w.Prune(prune.Request{DryRun: true, All: true})
	if got := agenttest.Actions(dry, points); got != "merge merge merge keep keep" || dry.Removed != 3 || dry.Kept != 2 || dry.Merged != 1 || dry.FreedBytes <= 0 {
		t.Fatalf("would %s: %+v", got, dry)
	}
	if got := w.Chains.There(points); got != "there there there there there" {
		t.Fatalf("after a dry run: %s", got)
	}
	done := w.Prune(prune.Request{})
	if got := w.Chains.There(points); got != "- - - there there" || done.Removed != 3 || done.Failed != 0 || done.Merged != 1 {
		t.Errorf("there: %s, %+v", got, done)
	}
	if off := done.FreedBytes - dry.FreedBytes; off > done.FreedBytes/20 || off < -done.FreedBytes/20 {
		t.Errorf("freed %d bytes, and the dry run promised %d", done.FreedBytes, dry.FreedBytes)
	}
	w.Chains.Whole(points[3:]...)
	if again := w.Prune(prune.Request{}); again.Removed+again.Merged+len(again.Points) != 0 || again.Kept != 2 {
		t.Errorf("there is more to do: %+v", again)
	}
	if next := w.Point("vm", record.Incremental); next.Parent != points[4].ID {
		t.Errorf("the next one stands on %s", next.Parent)
	}
	w.Chains.Whole(points[3:]...)
}

// TestDryRunForeseesFailure: a dry run says which restore points a prune cannot remove, because a merge is not possible, and the prune
// says the same.
func TestDryRunForeseesFailure(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 2, ExpiredMiddle: config.MergeMiddle}))
	points := w.Chains.Life("vm")
	for name, c := range map[string]struct {
		harm   func() (undo func())
		reason fault.Reason
		words  string
	}{
		"there is no room": {func() func() {
			was := w.Config.Space.Reserve
			w.Config.Space.Reserve = config.SizeOf(1 << 50)
			return func() { w.Config.Space.Reserve = was }
		}, fault.NoSpace, "space.reserve"},
		"a manifest cannot be read": {func() func() {
			path := filepath.Join(points[1].Directory, "manifest.json")
			agenttest.Must(t, os.Rename(path, path+".away"))
			return func() { agenttest.Must(t, os.Rename(path+".away", path)) }
		}, fault.ImageFailed, "chain is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			undo := c.harm()
			reports := map[string]prune.Report{
				"dry run": w.Prune(prune.Request{DryRun: true, All: true}), "prune": w.Prune(prune.Request{All: true}),
			}
			undo()
			for kind, r := range reports {
				if r.Failed != 3 || r.Removed+r.Merged != 0 || r.Kept != 5 || r.FreedBytes != 0 {
					t.Errorf("%s: %+v", kind, r)
				}
				for _, p := range r.Points {
					expired := p.Action == retention.Merge
					if expired != (p.Failure != nil) || expired && (!p.Failure.Has(c.reason) || !strings.Contains(p.Failure.Error(), c.words)) {
						t.Errorf("%s: %+v: %v", kind, p, p.Failure)
					}
				}
			}
			w.Chains.Whole(points...)
		})
	}
	if dry := w.Prune(prune.Request{DryRun: true}); dry.Failed != 0 || dry.Removed != 3 || dry.Merged != 1 {
		t.Errorf("when all is well again: %+v", dry)
	}
}

// TestPruneShortensChains: the newest restore point becomes a full backup when its chain is longer than the policy allows. A dry run says so,
// how much room that takes, and why it cannot be done. The next backup is based on it, and every restore point stays.
func TestPruneShortensChains(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 9, MaxChain: 2}))
	_, sources := w.PutVM("vm", 24<<20)
	for at := int64(8 << 20); at < 16<<20; at += 64 << 10 {
		agenttest.Scribble(t, sources[0], at)
	}
	var points []agenttest.Instant
	for _, kind := range []record.Type{record.Full, record.Incremental, record.Incremental} {
		agenttest.Scribble(t, sources[0], int64(len(points)+1)<<20)
		points = append(points, agenttest.Instant{Backup: w.Point("vm", kind), Disks: agenttest.Freeze(t, sources)})
	}
	was := w.Config.Space.Reserve
	w.Config.Space.Reserve = config.SizeOf(1 << 50)
	for kind, r := range map[string]prune.Report{"dry run": w.Prune(prune.Request{DryRun: true}), "prune": w.Prune(prune.Request{})} {
		if r.Failed != 1 || r.Kept != 3 || len(r.Points) != 1 || !r.Points[0].Synthetic || !r.Points[0].Failure.Has(fault.NoSpace) {
			t.Errorf("%s without room: %+v", kind, r)
		}
	}
	w.Config.Space.Reserve = was
	dry, done := w.Prune(prune.Request{DryRun: true}), w.Prune(prune.Request{})
	for kind, r := range map[string]prune.Report{"dry run": dry, "prune": done} {
		if len(r.Points) != 1 || r.Points[0].BackupID != points[2].ID || !r.Points[0].Synthetic || r.Merged != 1 || r.Kept != 3 || r.Failed+r.Removed != 0 {
			t.Errorf("%s: %+v", kind, r)
		}
	}
	if off := done.FreedBytes - dry.FreedBytes; done.FreedBytes >= 0 || off > -done.FreedBytes/20 || off < done.FreedBytes/20 {
		t.Errorf("freed %d bytes, and the dry run promised %d", done.FreedBytes, dry.FreedBytes)
	}
	if b, err := w.Agent.Records.Backup(points[2].ID); err != nil || b.Parent != "" || b.Type != record.Full {
		t.Errorf("%+v, %v", b, err)
	}
	w.Chains.Whole(points...)
	if again := w.Prune(prune.Request{}); len(again.Points)+again.Merged != 0 {
		t.Errorf("there is more to do: %+v", again)
	}
	if next := w.Point("vm", record.Incremental); next.Parent != points[2].ID {
		t.Errorf("the next one is based on %s", next.Parent)
	}
}

// TestPruneKeepsChains: without merges an expired restore point stays until its children expire. A chain is removed as a whole.
func TestPruneKeepsChains(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 1}))
	_, sources := w.PutVM("vm", 8<<20)
	var points []agenttest.Instant
	for _, kind := range []record.Type{record.Full, record.Incremental, record.Full, record.Incremental} {
		agenttest.Scribble(t, sources[0], int64(len(points)+1)<<20)
		points = append(points, agenttest.Instant{Backup: w.Point("vm", kind), Disks: agenttest.Freeze(t, sources)})
	}
	report := w.Prune(prune.Request{VMName: "vm", All: true})
	if got := agenttest.Actions(report, points); got != "delete delete wait keep" || report.Removed != 2 || report.FreedBytes < 1<<20 {
		t.Errorf("%s, %+v", got, report)
	}
	if got := w.Chains.There(points); got != "- - there there" {
		t.Errorf("there: %s", got)
	}
	w.Chains.Whole(points[2:]...)
}

// TestPruneOfADamagedChain: restore points based on a damaged one count for no rule, so that the newest good one and its chain are kept.
// A person decides about the damaged ones.
func TestPruneOfADamagedChain(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 1}))
	_, sources := w.PutVM("vm", 8<<20)
	var points []agenttest.Instant
	for _, kind := range []record.Type{record.Full, record.Incremental, record.Full, record.Incremental} {
		agenttest.Scribble(t, sources[0], int64(len(points)+1)<<20)
		points = append(points, agenttest.Instant{Backup: w.Point("vm", kind), Disks: agenttest.Freeze(t, sources)})
	}
	image := points[2].Runs[0].Image
	agenttest.Flip(t, image, agenttest.DataOffset(t, image), 3)
	w.Verify(points[2].Backup, true)
	report := w.Prune(prune.Request{VMName: "vm", All: true})
	if got := agenttest.Actions(report, points); got != "wait keep keep keep" || report.Removed != 0 {
		t.Errorf("%s, %+v", got, report)
	}
	if reason := strings.Join(report.Points[0].Reasons, ", "); report.Points[0].BackupID != points[3].ID || !strings.Contains(reason, "based on "+points[2].ID+", which is damaged") {
		t.Errorf("%s is kept, because %s", report.Points[0].BackupID, reason)
	}
	w.Chains.Whole(points[:2]...)
}

// TestPruneHeeds: a restore point stays while it is young, has no policy, or is being read.
func TestPruneHeeds(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 1}), func(c *config.Config, _ *snatest.Options) {
		c.Policies = append(c.Policies, config.Policy{ID: "locked", KeepLast: 1, MinAge: config.AgeOf(24 * time.Hour)})
	})
	w.PutVM("vm", 4<<20)
	start := func(policy string) agenttest.Instant {
		b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main", Policy: policy})
		agenttest.Must(t, err)
		return agenttest.Instant{Backup: w.Wait(b.ID)}
	}
	points := []agenttest.Instant{start("locked"), start("gold"), start("locked"), start("gold")}
	r, err := w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: points[1].ID})
	agenttest.Must(t, err)
	report := w.Prune(prune.Request{All: true})
	if got := agenttest.Actions(report, points); got != "keep wait keep keep" || report.Removed != 0 {
		t.Errorf("%s, %+v", got, report)
	}
	_, err = w.Agent.Restores.Stop(t.Context(), r.ID)
	agenttest.Must(t, err)
	w.Prune(prune.Request{})
	if got := w.Chains.There(points); got != "there - there there" {
		t.Errorf("there: %s", got)
	}
}

// TestUnknownPolicy: a backup with an unknown policy is refused, and nothing is started.
func TestUnknownPolicy(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 1}))
	w.PutVM("vm", 4<<20)
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main", Policy: "golf"})
	var e *fault.Error
	if !errors.As(err, &e) || e.Reason != fault.InvalidRequest || !strings.Contains(e.Message, `policy_id "golf"`) || e.Hint == "" {
		t.Errorf("%v", err)
	}
	if list, _, err := w.Agent.Records.List(ledger.ListQuery{}); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestPruneFollowsNoLink: a prune removes nothing outside of the repository, whatever is in the place of a directory or beside an image.
func TestPruneFollowsNoLink(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 1}))
	w.PutVM("vm", 4<<20)
	first, second, last := w.Point("vm", record.Full), w.Point("vm", record.Full), w.Point("vm", record.Full)
	outside := filepath.Join(w.Dir, "outside") // on the same file system, so that a rename leads there
	agenttest.Must(t, os.Mkdir(outside, 0o755))
	precious := filepath.Join(outside, "precious")
	agenttest.Must(t, os.WriteFile(precious, []byte("x"), 0o600))
	// Links of both kinds, to a file and to a directory, in a directory that is removed.
	agenttest.Must(t, os.Symlink(outside, filepath.Join(first.Directory, "dir")))
	agenttest.Must(t, os.Symlink(precious, filepath.Join(first.Directory, "file")))
	// A link in the place of a directory that is removed.
	aside := filepath.Join(outside, "aside")
	agenttest.Must(t, os.Rename(second.Directory, aside))
	agenttest.Must(t, os.Symlink(aside, second.Directory))
	report := w.Prune(prune.Request{})
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
	agenttest.Must(t, os.Remove(second.Directory))
	agenttest.Must(t, os.Rename(aside, second.Directory))
	if report := w.Prune(prune.Request{}); report.Removed != 1 || report.Failed != 0 {
		t.Errorf("once it is put back: %+v", report)
	}
}

// TestPruneReport: the report tells which restore points are removed and why.
func TestPruneReport(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 1, KeepDaily: 1}))
	w.PutVM("vm", 4<<20)
	first, second := w.Point("vm", record.Full), w.Point("vm", record.Full)
	report := w.Prune(prune.Request{DryRun: true})
	if len(report.Points) != 1 {
		t.Fatalf("%+v", report)
	}
	p := report.Points[0]
	if p.BackupID != first.ID || p.Action != retention.Delete || p.Policy != "gold" || p.Bytes < 1<<20 || len(p.Reasons) == 0 || p.Removed {
		t.Errorf("%+v", p)
	}
	report = w.Prune(prune.Request{DryRun: true, All: true})
	day := second.CreatedAt.Local().Format("2006-01-02")
	if reasons := strings.Join(report.Points[0].Reasons, ", "); reasons != "last #1, daily "+day {
		t.Errorf("the newest is kept for %q", reasons)
	}
	_, err := w.Agent.Policies.Prune(t.Context(), prune.Request{VMName: "nobody"})
	var e *fault.Error
	if !errors.As(err, &e) || e.Reason != fault.VMNotFound {
		t.Errorf("%v", err)
	}
}
