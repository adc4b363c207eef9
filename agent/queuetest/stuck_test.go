package queuetest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/prune"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/agent/verify"
)

// completes waits for a backup, and fails the test unless it completes.
func completes(w *agenttest.World, b record.Backup) {
	w.Helper()
	if b = w.Wait(b.ID); b.State != record.Completed {
		w.Errorf("backup %s is %s: %+v", b.ID, b.State, b.Failure)
	}
}

// waits fails the test unless a backup is queued and says what it waits for.
func waits(w *agenttest.World, b record.Backup, what string) {
	w.Helper()
	w.Eventually("backup "+b.ID+" to wait for: "+what, func() bool { return strings.Contains(w.Agent.Backups.WaitsFor(b.ID), what) })
	if b, err := w.Agent.Records.Backup(b.ID); err != nil || b.State != record.Queued {
		w.Errorf("backup %s is %s, error %v", b.ID, b.State, err)
	}
}

// TestQueueBesideStuckRepository: the first of the queue waits for a repository that does not answer. The backups behind it in the other
// repository start and finish, with one slot for all. It can be canceled at once, and the next one starts when the repository answers.
func TestQueueBesideStuckRepository(t *testing.T) {
	w := agenttest.New(t, agenttest.WithSecond, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxBackups = 1 })
	for _, vm := range []string{"a", "b", "c", "d", "e"} {
		w.PutVM(vm, 1<<20)
	}
	w.SetStuck("main", true)
	head, next := w.Ask("a", "main"), w.Ask("b", "main")
	waits(w, head, "repository main does not answer since ")
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "c", Type: record.Full, Repository: "main"})
	agenttest.WantError(t, err, fault.RepositoryStuck, "repository main does not answer since ")
	var others []record.Backup
	for _, vm := range []string{"c", "d", "e"} {
		others = append(others, w.Ask(vm, "second"))
	}
	for _, b := range others {
		completes(w, b)
	}
	waits(w, head, "does not answer")
	start := time.Now()
	b, err := w.Agent.Backups.Cancel(t.Context(), head.ID)
	agenttest.Must(t, err)
	if took := time.Since(start); b.State != record.Cancelled || took > time.Minute {
		t.Errorf("the first of the queue is %s after %s", b.State, took)
	}
	w.SetStuck("main", false)
	completes(w, next)
}

// TestStuckRepositoryHoldsNoSlot: running backups of a repository that does not answer do not count for limits.max_backups.
func TestStuckRepositoryHoldsNoSlot(t *testing.T) {
	w := agenttest.New(t, agenttest.WithSecond, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxBackups = 1 })
	w.PutVM("a", 1<<20)
	w.PutVM("b", 1<<20)
	w.SNA.Hold("copy/0")
	held := w.StartBackup("a")
	other := w.Ask("b", "second")
	waits(w, other, "the limit of parallel backups is reached: 1 are running")
	w.SetStuck("main", true)
	w.WaitFor(other.ID, func(b record.Backup) bool { return b.State == record.Running })
	w.SetStuck("main", false)
	w.SNA.Release("copy/0")
	completes(w, held)
	completes(w, other)
}

// TestLimitOfRepository: max_backups of a repository limits its backups, and not those of another one.
func TestLimitOfRepository(t *testing.T) {
	w := agenttest.New(t, agenttest.WithSecond, func(c *config.Config, _ *snatest.Options) { c.Repositories[0].MaxBackups = 1 })
	for _, vm := range []string{"a", "b", "c"} {
		w.PutVM(vm, 1<<20)
	}
	w.SNA.Hold("copy/0")
	first, queued, other := w.Ask("a", "main"), w.Ask("b", "main"), w.Ask("c", "second")
	if first.State != record.Running || other.State != record.Running {
		t.Errorf("%s, %s", first.State, other.State)
	}
	waits(w, queued, "the limit of parallel backups in repository main is reached: 1 are running")
	w.SNA.Release("copy/0")
	for _, b := range []record.Backup{first, queued, other} {
		completes(w, b)
	}
}

// TestPruneBesideStuckRepository: the part of a repository that does not answer says so, and the other part is complete.
func TestPruneBesideStuckRepository(t *testing.T) {
	w := agenttest.New(t, agenttest.WithPolicy(config.Policy{KeepLast: 1}), agenttest.WithSecond,
		func(c *config.Config, _ *snatest.Options) { c.Repositories[1].Policy = "gold" })
	w.PutVM("vm", 1<<20)
	for range 2 {
		for _, repository := range []string{"main", "second"} {
			b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: repository})
			agenttest.Must(t, err)
			completes(w, b)
		}
	}
	w.SetStuck("main", true)
	for _, dry := range []bool{true, false} {
		start := time.Now()
		r := w.Prune(prune.Request{DryRun: dry})
		if took := time.Since(start); took > time.Minute {
			t.Errorf("the answer took %s", took)
		}
		if len(r.Parts) != 2 || r.Parts[1].Failure != nil || !r.Parts[0].Failure.Has(fault.RepositoryStuck) ||
			!strings.Contains(r.Parts[0].Failure.Message, "repository main does not answer since ") {
			t.Errorf("dry run %v: the parts are %+v", dry, r.Parts)
		}
		if r.Removed != 1 || len(r.Points) != 1 || r.Points[0].Repository != "second" {
			t.Errorf("dry run %v: %+v", dry, r)
		}
	}
	if at, err := w.Store.Pruned(); err != nil || !at.IsZero() {
		t.Errorf("the policies count as applied to all restore points: %s, error %v", at, err)
	}
	w.SetStuck("main", false)
	if r := w.Prune(prune.Request{}); r.Removed != 1 || r.Parts[0].Failure != nil {
		t.Errorf("when it answers again: %+v", r)
	}
}

// TestNothingStartsInPausedRepository: a pause holds everything new, survives a restart, and does not touch what runs or another repository.
func TestNothingStartsInPausedRepository(t *testing.T) {
	w := agenttest.New(t, agenttest.WithSecond)
	w.PutVM("vm", 1<<20)
	w.PutVM("running", 1<<20)
	point := w.Point("vm", record.Full)
	incremental := w.Point("vm", record.Incremental)
	w.SNA.Hold("copy/0")
	running := w.StartBackup("running")
	_, err := w.Agent.PauseRepository(t.Context(), "main", "new disks")
	agenttest.Must(t, err)
	list, err := w.Agent.Activities()
	if err != nil || list["main"].Backups != 1 {
		t.Errorf("in progress: %+v, error %v", list, err)
	}
	w.Stop()
	w.Start()
	_, start := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	_, verified := w.Agent.Verifications.Start(verify.Request{BackupID: point.ID})
	_, merged := w.Agent.Merges.SyntheticFull(t.Context(), incremental.ID)
	_, served := w.Agent.Restores.Start(t.Context(), restore.Request{BackupID: point.ID})
	_, pruned := w.Agent.Policies.Prune(t.Context(), prune.Request{Repository: "main"})
	for what, err := range map[string]error{
		"a backup": start, "a verification": verified, "a merge": merged, "a restore": served, "a prune": pruned, "a deletion": w.Delete(incremental.ID),
	} {
		t.Log(what)
		agenttest.WantError(t, err, fault.RepositoryPaused, "new disks")
	}
	queued := w.Ask("vm", "main")
	waits(w, queued, "repository main is paused since ")
	if s := w.Scrape(); s[`sendense_agent_repository_paused{repository="main"}`] != 1 || s[`sendense_agent_repository_paused{repository="second"}`] != 0 {
		t.Error("the metric does not tell which repository is paused")
	}
	w.SNA.Release("copy/0")
	completes(w, running)
	waits(w, queued, "paused")
	for range 2 {
		_, err := w.Agent.ResumeRepository(t.Context(), "main")
		agenttest.Must(t, err)
	}
	completes(w, queued)
	agenttest.Must(t, w.Delete(queued.ID))
}
