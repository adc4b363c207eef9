package agent_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/nbd"
)

func TestBackupOfThreeDisks(t *testing.T) {
	w := newWorld(t)
	_, sources := w.putVM("pgtest1", 64<<20, 32<<20, 1<<30)
	b := w.startBackup("pgtest1")
	if b.State != record.Running {
		t.Errorf("state %s after the start, want running", b.State)
	}
	for i, d := range b.Runs {
		if d.Key != 2000+i || d.PID == 0 || d.InvocationID == "" {
			t.Errorf("disk %d: key %d, pid %d, invocation %q", i, d.Key, d.PID, d.InvocationID)
		}
	}
	w.completes(b, sources)
}

// completes waits for the end of a backup, and fails the test unless its images are what the sources are.
func (w *world) completes(b record.Backup, sources []string) record.Backup {
	w.Helper()
	b = w.wait(b.ID)
	if b.State != record.Completed {
		w.Fatalf("backup %s is %s: %+v", b.ID, b.State, b.Failure)
	}
	for i, d := range b.Runs {
		w.compare(sources[i], d.Image)
		if d.ChangeID == "" || d.Result != "success" || d.ReceivedBytes == 0 {
			w.Errorf("disk %d: change id %q, result %q, %d bytes received", d.DiskID, d.ChangeID, d.Result, d.ReceivedBytes)
		}
	}
	if n := w.posts(b.ID); n != 1 {
		w.Errorf("the SNA was asked %d times, want once", n)
	}
	return b
}

func TestBackupOfSixtyDisks(t *testing.T) {
	w := newWorld(t)
	sizes := make([]int64, 60)
	for i := range sizes {
		sizes[i] = int64(i+1) << 20
	}
	_, sources := w.putVM("sixty", sizes...)
	w.completes(w.startBackup("sixty"), sources)
}

func TestOddNames(t *testing.T) {
	names := []string{
		"with space", "comma,name", "colon:name", "100%", "a/b", "..", ".", "-rf", `quo"te'd`, strings.Repeat("x", 200),
		"Ünïcødé 数据库", "x-disk2-y", "odd?name", "odd#name", "odd&name", "nbd://host/x", "json:{}", "{{.}}", "$(id)", "a\u00a0b",
	}
	w := newWorld(t)
	ids := map[string]string{}
	for _, name := range names {
		_, sources := w.putVM(name, 1<<20, 2<<20)
		b := w.completes(w.startBackup(name), sources)
		if other, ok := ids[b.Directory]; ok {
			t.Errorf("%q and %q share the directory %s", name, other, b.Directory)
		}
		ids[b.Directory] = name
		if rel, err := filepath.Rel(w.config.Repositories[0].Path, b.Directory); err != nil || strings.HasPrefix(rel, "..") {
			t.Errorf("%q: directory %s is outside of the repository", name, b.Directory)
		}
	}
}

func TestStartRefused(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 1<<20)
	_, err := w.agent.PutVM(record.VM{Name: "empty"})
	must(t, err)
	full := agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"}
	for _, c := range []struct {
		name   string
		change func(*agent.StartRequest)
		reason agent.Reason
		words  string
	}{
		{"no vm", func(r *agent.StartRequest) { r.VMName = "" }, agent.InvalidRequest, "vm_name is missing"},
		{"unknown vm", func(r *agent.StartRequest) { r.VMName = "other" }, agent.VMNotFound, `"other"`},
		{"no disks", func(r *agent.StartRequest) { r.VMName = "empty" }, agent.VMHasNoDisks, "no disks"},
		{"no type", func(r *agent.StartRequest) { r.Type = "" }, agent.InvalidRequest, "backup_type"},
		{"odd type", func(r *agent.StartRequest) { r.Type = "diff" }, agent.InvalidRequest, `"diff"`},
		{"unknown repository", func(r *agent.StartRequest) { r.Repository = "nas" }, agent.RepositoryNotFound, `"nas"`},
		{"no repository", func(r *agent.StartRequest) { r.Repository = "" }, agent.InvalidRequest, "repository_id"},
		{"control character", func(r *agent.StartRequest) { r.Policy = "a\nb" }, agent.InvalidRequest, "policy_id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := full
			c.change(&r)
			_, err := w.agent.StartBackup(t.Context(), r)
			wantError(t, err, c.reason, c.words)
		})
	}
	if list, _, _ := w.agent.Backups(agent.ListQuery{}); len(list) != 0 {
		t.Errorf("%d records of backups that were refused", len(list))
	}
	if posts := w.sna.State().Posts; len(posts) != 0 {
		t.Errorf("the SNA was asked %d times", len(posts))
	}
}

func wantError(t testing.TB, err error, reason agent.Reason, words string) *agent.Error {
	t.Helper()
	var e *agent.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want reason %s", err, reason)
	}
	if e.Reason != reason || !strings.Contains(e.Message, words) {
		t.Errorf("error %s: %s; want reason %s and the words %q", e.Reason, e.Message, reason, words)
	}
	return e
}

// TestSNAFails has the SNA misbehave in every way that ends a start, and looks that each is undone without trace.
func TestSNAFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults snatest.Faults
		reason agent.Reason
		words  string
	}{
		{"refused", snatest.Faults{Answer: snatest.AnswerRefuse, Status: 400, Text: "vm_name is required"}, agent.SNARefused, "vm_name is required"},
		{"failed", snatest.Faults{Answer: snatest.AnswerRefuse, Status: 500, Text: "fork/exec sbc: no such file"}, agent.SNARefused, "fork/exec sbc: no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			_, sources := w.putVM("vm", 1<<20, 2<<20)
			must(t, w.sna.SetFaults(c.faults))
			_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
			e := wantError(t, err, c.reason, c.words)
			w.clean()
			if b := w.wait(e.BackupID); b.State != record.Failed || b.Failure.Reason != string(c.reason) {
				t.Errorf("record: %s, %+v", b.State, b.Failure)
			}
			must(t, w.sna.SetFaults(snatest.Faults{}))
			w.completes(w.startBackup("vm"), sources)
		})
	}
}

func TestSNAUnreachable(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.SNA.URL = "http://127.0.0.1:9" })
	w.putVM("vm", 1<<20)
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	wantError(t, err, agent.SNAUnreachable, "connection refused")
	w.clean()
}

// TestAnswerLost is about requests that may have arrived: they are never sent again, the exports stay, and the backup
// goes on when SBC appears, or fails at the deadline when it does not.
func TestAnswerLost(t *testing.T) {
	short := func(c *config.Config, _ *snatest.Options) {
		c.SNA.StartTimeout = config.DurationOf(500 * time.Millisecond)
	}
	for _, answer := range []snatest.Answer{
		snatest.AnswerHang, snatest.AnswerReset, snatest.AnswerGarbage, snatest.AnswerTruncated, snatest.AnswerHuge, snatest.AnswerWrongJob,
	} {
		t.Run(string(answer), func(t *testing.T) {
			w := newWorld(t, short)
			_, sources := w.putVM("vm", 1<<20, 2<<20)
			must(t, w.sna.SetFaults(snatest.Faults{Answer: answer, Pause: []string{"login"}}))
			_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
			e := wantError(t, err, agent.SNAOutcomeUnknown, "")
			b, err := w.agent.Backup(e.BackupID)
			must(t, err)
			if b.State != record.Unresolved {
				t.Errorf("state %s, want unresolved", b.State)
			}
			w.sna.Release("login")
			w.completes(b, sources)
		})
	}
}

func TestNobodyConnects(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.FirstConnection = config.DurationOf(300 * time.Millisecond)
		c.SNA.Cooldown = config.DurationOf(time.Hour)
	})
	w.putVM("vm", 1<<20)
	must(t, w.sna.SetFaults(snatest.Faults{LoginFails: true}))
	b := w.wait(w.startBackup("vm").ID)
	if b.State != record.Failed || b.Failure.Reason != string(agent.DeadlinePassed) {
		t.Fatalf("backup is %s, %+v", b.State, b.Failure)
	}
	w.clean()
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	wantError(t, err, agent.CoolingDown, b.ID)
}

func TestSecondStartOfOneVM(t *testing.T) {
	w := newWorld(t)
	_, sources := w.putVM("vm", 1<<20, 2<<20)
	w.sna.Hold("copy/0")
	const callers = 20
	var (
		wait  sync.WaitGroup
		mu    sync.Mutex
		won   []record.Backup
		other []error
	)
	for range callers {
		wait.Go(func() {
			b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				other = append(other, err)
				return
			}
			won = append(won, b)
		})
	}
	wait.Wait()
	if len(won) != 1 {
		t.Fatalf("%d of %d starts won, want one", len(won), callers)
	}
	for _, err := range other {
		wantError(t, err, agent.BackupInProgress, won[0].ID)
	}
	w.sna.Release("copy/0")
	w.completes(won[0], sources)
}

func TestForeignPort(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.NBD.FirstPort, c.NBD.LastPort = 10100, 10104 })
	l, err := net.Listen("tcp", "127.0.0.1:10101")
	must(t, err)
	defer l.Close()
	_, sources := w.putVM("vm", 1<<20, 2<<20, 3<<20)
	b := w.completes(w.startBackup("vm"), sources)
	for _, d := range b.Runs {
		if d.Port == 10101 {
			t.Errorf("disk %d got the port of another process", d.DiskID)
		}
	}
}

func TestRangeFull(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.NBD.FirstPort, c.NBD.LastPort = 10100, 10101 })
	w.putVM("vm", 1<<20, 1<<20, 1<<20)
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	wantError(t, err, agent.NoFreePort, "10100-10101")

	two, err := net.Listen("tcp", "127.0.0.1:10100")
	must(t, err)
	defer two.Close()
	w.putVM("pair", 1<<20, 1<<20)
	_, err = w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "pair", Type: record.Full, Repository: "main"})
	wantError(t, err, agent.NoFreePort, "held by another process")
	w.clean()
}

func TestExporterCannotStart(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.NBD.QemuNBD = "/nonexistent/qemu-nbd" })
	w.putVM("vm", 1<<20, 2<<20)
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	e := wantError(t, err, agent.ExporterFailed, "203/EXEC: /nonexistent/qemu-nbd cannot be executed")
	if e.Unit == "" || e.DiskID == nil || len(e.Journal) == 0 {
		t.Errorf("the error names unit %q, disk %v, journal %q", e.Unit, e.DiskID, e.Journal)
	}
	w.clean()
}

func TestImageToolMissing(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.NBD.QemuImg = "/nonexistent/qemu-img" })
	w.putVM("vm", 1<<20)
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	wantError(t, err, agent.ImageFailed, "qemu-utils")
	w.clean()
}

func TestExporterDiesInMidCopy(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20, 8<<20)
	w.sna.Hold("copy/0")
	b := w.startBackup("vm")
	_, err := w.sna.WaitHeld(t.Context(), b.ID, "copy/0")
	must(t, err)
	p, err := os.FindProcess(b.Runs[1].PID)
	must(t, err)
	killed := time.Now()
	must(t, p.Kill())
	b = w.wait(b.ID)
	t.Logf("failed %s after the kill", b.EndedAt.Sub(killed))
	if b.State != record.Failed || b.Failure.DiskID == nil || *b.Failure.DiskID != 1 || b.Failure.Reason != string(agent.ExporterFailed) {
		t.Errorf("backup is %s, %+v", b.State, b.Failure)
	}
	w.clean()
	w.sna.Release("copy/0")
}

// TestCancel: nothing is left of a cancelled backup but the cool-down. Its client was connected, and may live on for minutes.
func TestCancel(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.SNA.Cooldown = config.DurationOf(3 * time.Second) })
	_, sources := w.putVM("vm", 8<<20, 8<<20)
	w.sna.Hold("copy/1")
	b := w.startBackup("vm")
	_, err := w.sna.WaitHeld(t.Context(), b.ID, "copy/1")
	must(t, err)
	for range 2 {
		b, err = w.agent.CancelBackup(t.Context(), b.ID)
		must(t, err)
		if b.State != record.Cancelled {
			t.Fatalf("backup is %s", b.State)
		}
		w.clean()
	}
	w.sna.Release("copy/1")
	if run, err := w.sna.WaitRun(t.Context(), b.ID); err != nil || run.Error == "" {
		t.Errorf("SBC ended with the error %q, %v; want one, because its exports went", run.Error, err)
	}
	if !b.SnapshotMayRemain || b.CooldownUntil.IsZero() {
		t.Errorf("its client was at work: %+v", b)
	}
	_, err = w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	wantError(t, err, agent.CoolingDown, "cool-down until")
	time.Sleep(time.Until(b.CooldownUntil) + 100*time.Millisecond) // it is a time that is waited for
	b = w.completes(w.startBackup("vm"), sources)
	if b.SnapshotMayRemain {
		t.Error("a completed backup says that its snapshot may be left")
	}
	_, err = w.agent.CancelBackup(t.Context(), b.ID)
	wantError(t, err, agent.WrongState, "completed")
}

// TestAgentRestart restarts the agent in mid-copy: the client's connections do not break, and the backup completes.
func TestAgentRestart(t *testing.T) {
	w := newWorld(t)
	_, sources := w.putVM("vm", 8<<20, 8<<20)
	w.sna.Hold("copy/0")
	b := w.startBackup("vm")
	_, err := w.sna.WaitHeld(t.Context(), b.ID, "copy/0")
	must(t, err)
	w.stop()
	w.start()
	w.sna.Release("copy/0")
	w.completes(b, sources)
}

func TestSameExportOnTwoControllers(t *testing.T) {
	w := newWorld(t)
	vm := record.VM{Name: "twin", Disks: []record.Disk{{ID: 0, CapacityBytes: 1 << 20}, {ID: 1, CapacityBytes: 1 << 20}}}
	_, err := w.agent.PutVM(vm)
	wantError(t, err, agent.InvalidRequest, "both have the disk key 2000")
	vm.Disks[1].DeviceKey = 2016
	_, err = w.agent.PutVM(vm)
	must(t, err)
}

func TestRepositoryFailures(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Repositories = append(c.Repositories,
			config.Repository{ID: "full", Path: filepath.Dir(c.Agent.StateDirectory) + "/full"},
			config.Repository{ID: "readonly", Path: filepath.Dir(c.Agent.StateDirectory) + "/readonly"},
			config.Repository{ID: "missing", Path: filepath.Dir(c.Agent.StateDirectory) + "/missing"})
		c.Space = config.Space{}
		mountTmpfs(t, c.Repositories[1].Path, "size=256k")
		mountTmpfs(t, c.Repositories[2].Path, "ro")
	})
	w.putVM("vm", 1<<20, 2<<20)
	must(t, os.WriteFile(w.config.Repositories[1].Path+"/ballast", make([]byte, 256<<10-8192), 0o600))
	for _, c := range []struct {
		repository string
		reason     agent.Reason
		words      string
	}{
		{"full", agent.NoSpace, "No space left on device"},
		{"readonly", agent.RepositoryFailed, "read-only file system"},
		{"missing", agent.RepositoryFailed, "no such file or directory"},
	} {
		_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: c.repository})
		e := wantError(t, err, c.reason, c.words)
		if strings.Contains(e.Message, "could not be removed") {
			t.Errorf("the error of repository %s speaks of a clean-up that has nothing to do: %s", c.repository, e.Message)
		}
	}
	w.clean()
}

func TestNamesOfUnitsAndJobs(t *testing.T) {
	w := newWorld(t)
	_, _ = w.putVM("x-disk2-y", 1<<20)
	b := w.startBackup("x-disk2-y")
	b = w.wait(b.ID)
	if i, ok := nbd.DiskIndex(b.Runs[0].ExportName); !ok || i != 0 {
		t.Errorf("export %s has disk index %d", b.Runs[0].ExportName, i)
	}
}
