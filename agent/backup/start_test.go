package backup_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/nbd"
)

func TestBackupOfThreeDisks(t *testing.T) {
	w := agenttest.New(t)
	_, sources := w.PutVM("pgtest1", 64<<20, 32<<20, 160<<20)
	b := w.StartBackup("pgtest1")
	if b.State != record.Running {
		t.Errorf("state %s after the start, want running", b.State)
	}
	for i, d := range b.Runs {
		if d.Key != 2000+i || d.PID == 0 || d.InvocationID == "" {
			t.Errorf("disk %d: key %d, pid %d, invocation %q", i, d.Key, d.PID, d.InvocationID)
		}
	}
	w.Completes(b, sources)
}

func TestBackupOfSixtyDisks(t *testing.T) {
	w := agenttest.New(t)
	sizes := make([]int64, 60)
	for i := range sizes {
		sizes[i] = 1<<20 + int64(i)<<16 // of different sizes, and small: the race detector looks at each byte that the client copies
	}
	_, sources := w.PutVM("sixty", sizes...)
	w.Completes(w.StartBackup("sixty"), sources)
}

func TestOddNames(t *testing.T) {
	names := []string{
		"with space", "comma,name", "colon:name", "100%", "a/b", "..", ".", "-rf", `quo"te'd`, strings.Repeat("x", 200),
		"Ünïcødé 数据库", "x-disk2-y", "odd?name", "odd#name", "odd&name", "nbd://host/x", "json:{}", "{{.}}", "$(id)", "a\u00a0b",
	}
	w := agenttest.New(t)
	ids := map[string]string{}
	for _, name := range names {
		sizes := []int64{1 << 20}
		if strings.Contains(name, "disk") { // an export of another disk must not have its name
			sizes = append(sizes, 2<<20, 1<<20)
		}
		_, sources := w.PutVM(name, sizes...)
		b := w.Completes(w.StartBackup(name), sources)
		if other, ok := ids[b.Directory]; ok {
			t.Errorf("%q and %q share the directory %s", name, other, b.Directory)
		}
		ids[b.Directory] = name
		if rel, err := filepath.Rel(w.Config.Repositories[0].Path, b.Directory); err != nil || strings.HasPrefix(rel, "..") {
			t.Errorf("%q: directory %s is outside of the repository", name, b.Directory)
		}
	}
}

func TestStartRefused(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 1<<20)
	_, err := w.Agent.Inventory.Put(record.VM{Name: "empty"})
	agenttest.Must(t, err)
	full := backup.Request{VMName: "vm", Type: record.Full, Repository: "main"}
	for _, c := range []struct {
		name   string
		change func(*backup.Request)
		reason fault.Reason
		words  string
	}{
		{"no vm", func(r *backup.Request) { r.VMName = "" }, fault.InvalidRequest, "vm_name is missing"},
		{"unknown vm", func(r *backup.Request) { r.VMName = "other" }, fault.VMNotFound, `"other"`},
		{"no disks", func(r *backup.Request) { r.VMName = "empty" }, fault.VMHasNoDisks, "no disks"},
		{"odd type", func(r *backup.Request) { r.Type = "diff" }, fault.InvalidRequest, `"diff"`},
		{"unknown repository", func(r *backup.Request) { r.Repository = "nas" }, fault.RepositoryNotFound, `"nas"`},
		{"no repository", func(r *backup.Request) { r.Repository = "" }, fault.InvalidRequest, "repository_id"},
		{"control character", func(r *backup.Request) { r.Policy = "a\nb" }, fault.InvalidRequest, "policy_id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := full
			c.change(&r)
			_, err := w.Agent.Backups.Start(t.Context(), r)
			agenttest.WantError(t, err, c.reason, c.words)
		})
	}
	if list, _, _ := w.Agent.Records.List(ledger.ListQuery{}); len(list) != 0 {
		t.Errorf("%d records of backups that were refused", len(list))
	}
	if posts := w.SNA.State().Posts; len(posts) != 0 {
		t.Errorf("the SNA was asked %d times", len(posts))
	}
}

// TestSNAFails makes the SNA fail in every way that ends a start. Each start is undone completely.
func TestSNAFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults snatest.Faults
		reason fault.Reason
		words  string
	}{
		{"refused", snatest.Faults{Answer: snatest.AnswerRefuse, Status: 400, Text: "vm_name is required"}, fault.SNARefused, "vm_name is required"},
		{"failed", snatest.Faults{Answer: snatest.AnswerRefuse, Status: 500, Text: "fork/exec sbc: no such file"}, fault.SNARefused, "fork/exec sbc: no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := agenttest.New(t)
			_, sources := w.PutVM("vm", 1<<20, 2<<20)
			agenttest.Must(t, w.SNA.SetFaults(c.faults))
			_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
			e := agenttest.WantError(t, err, c.reason, c.words)
			w.Clean()
			if b := w.Wait(e.BackupID); b.State != record.Failed || b.Failure.Reason != string(c.reason) {
				t.Errorf("record: %s, %+v", b.State, b.Failure)
			}
			agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{}))
			w.Completes(w.StartBackup("vm"), sources)
		})
	}
}

func TestSNAUnreachable(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.SNA.URL = "http://127.0.0.1:9" })
	w.PutVM("vm", 1<<20)
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	agenttest.WantError(t, err, fault.SNAUnreachable, "connection refused")
	w.Clean()
}

// TestAnswerLost is about requests that may have arrived. They are never sent again, and the exports stay. The backup continues if
// SBC connects, and fails at the deadline if it does not.
func TestAnswerLost(t *testing.T) {
	short := func(c *config.Config, _ *snatest.Options) {
		c.SNA.StartTimeout = config.DurationOf(500 * time.Millisecond)
	}
	for _, answer := range []snatest.Answer{
		snatest.AnswerHang, snatest.AnswerReset, snatest.AnswerGarbage, snatest.AnswerTruncated, snatest.AnswerHuge, snatest.AnswerWrongJob,
	} {
		t.Run(string(answer), func(t *testing.T) {
			w := agenttest.New(t, short)
			_, sources := w.PutVM("vm", 1<<20, 2<<20)
			agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{Answer: answer, Pause: []string{"login"}}))
			_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
			e := agenttest.WantError(t, err, fault.SNAOutcomeUnknown, "")
			b, err := w.Agent.Records.Backup(e.BackupID)
			agenttest.Must(t, err)
			if b.State != record.Unresolved {
				t.Errorf("state %s, want unresolved", b.State)
			}
			w.SNA.Release("login")
			w.Completes(b, sources)
		})
	}
}

func TestNobodyConnects(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.FirstConnection = config.DurationOf(300 * time.Millisecond)
		c.SNA.Cooldown = config.DurationOf(time.Hour)
	})
	w.PutVM("vm", 1<<20)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{LoginFails: true}))
	b := w.Wait(w.StartBackup("vm").ID)
	if b.State != record.Failed || b.Failure.Reason != string(fault.DeadlinePassed) {
		t.Fatalf("backup is %s, %+v", b.State, b.Failure)
	}
	w.Clean()
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	agenttest.WantError(t, err, fault.CoolingDown, b.ID)
}

func TestSecondStartOfOneVM(t *testing.T) {
	w := agenttest.New(t)
	_, sources := w.PutVM("vm", 1<<20, 2<<20)
	w.SNA.Hold("copy/0")
	const callers = 20
	var (
		wait  sync.WaitGroup
		mu    sync.Mutex
		won   []record.Backup
		other []error
	)
	for range callers {
		wait.Go(func() {
			b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
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
		agenttest.WantError(t, err, fault.BackupInProgress, won[0].ID)
	}
	w.SNA.Release("copy/0")
	w.Completes(won[0], sources)
}

func TestForeignPort(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.NBD.FirstPort, c.NBD.LastPort = 10100, 10104 })
	l, err := net.Listen("tcp", "127.0.0.1:10101")
	agenttest.Must(t, err)
	defer l.Close()
	_, sources := w.PutVM("vm", 1<<20, 2<<20, 3<<20)
	b := w.Completes(w.StartBackup("vm"), sources)
	for _, d := range b.Runs {
		if d.Port == 10101 {
			t.Errorf("disk %d got the port of another process", d.DiskID)
		}
	}
}

func TestRangeFull(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.NBD.FirstPort, c.NBD.LastPort = 10100, 10101 })
	w.PutVM("vm", 1<<20, 1<<20, 1<<20)
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	agenttest.WantError(t, err, fault.NoFreePort, "10100-10101")

	two, err := net.Listen("tcp", "127.0.0.1:10100")
	agenttest.Must(t, err)
	defer two.Close()
	w.PutVM("pair", 1<<20, 1<<20)
	_, err = w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "pair", Type: record.Full, Repository: "main"})
	agenttest.WantError(t, err, fault.NoFreePort, "held by another process")
	w.Clean()
}

func TestExporterCannotStart(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.NBD.QemuNBD = "/nonexistent/qemu-nbd" })
	w.PutVM("vm", 1<<20, 2<<20)
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	e := agenttest.WantError(t, err, fault.ProgramMissing, "203/EXEC: /nonexistent/qemu-nbd cannot be executed")
	if e.Unit == "" || e.DiskID == nil || len(e.Journal) == 0 {
		t.Errorf("the error names unit %q, disk %v, journal %q", e.Unit, e.DiskID, e.Journal)
	}
	w.Clean()
}

func TestImageToolMissing(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.NBD.QemuImg = "/nonexistent/qemu-img" })
	w.PutVM("vm", 1<<20)
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	agenttest.WantError(t, err, fault.ProgramMissing, "qemu-utils")
	w.Clean()
}

func TestExporterDiesInMidCopy(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20, 8<<20)
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	_, err := w.SNA.WaitHeld(t.Context(), b.ID, "copy/0")
	agenttest.Must(t, err)
	p, err := os.FindProcess(b.Runs[1].PID)
	agenttest.Must(t, err)
	killed := time.Now()
	agenttest.Must(t, p.Kill())
	b = w.Wait(b.ID)
	t.Logf("failed %s after the kill", b.EndedAt.Sub(killed))
	if b.State != record.Failed || b.Failure.DiskID == nil || *b.Failure.DiskID != 1 || b.Failure.Reason != string(fault.ExporterFailed) {
		t.Errorf("backup is %s, %+v", b.State, b.Failure)
	}
	w.Clean()
	w.SNA.Release("copy/0")
}

// TestCancel: only the cool-down remains of a canceled backup. Its client was connected, and may run for minutes.
func TestCancel(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.SNA.Cooldown = config.DurationOf(3 * time.Second) })
	_, sources := w.PutVM("vm", 8<<20, 8<<20)
	w.SNA.Hold("copy/1")
	b := w.StartBackup("vm")
	_, err := w.SNA.WaitHeld(t.Context(), b.ID, "copy/1")
	agenttest.Must(t, err)
	for range 2 {
		b, err = w.Agent.Backups.Cancel(t.Context(), b.ID)
		agenttest.Must(t, err)
		if b.State != record.Cancelled {
			t.Fatalf("backup is %s", b.State)
		}
		w.Clean()
	}
	w.SNA.Release("copy/1")
	if run, err := w.SNA.WaitRun(t.Context(), b.ID); err != nil || run.Error == "" {
		t.Errorf("SBC ended with the error %q, %v; want one, because its exports went", run.Error, err)
	}
	if !b.SnapshotMayRemain || b.CooldownUntil.IsZero() {
		t.Errorf("its client was at work: %+v", b)
	}
	_, err = w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	agenttest.WantError(t, err, fault.CoolingDown, "cool-down until")
	time.Sleep(time.Until(b.CooldownUntil) + 100*time.Millisecond) // the test waits for a time of day
	b = w.Completes(w.StartBackup("vm"), sources)
	if b.SnapshotMayRemain {
		t.Error("a completed backup says that its snapshot may be left")
	}
	_, err = w.Agent.Backups.Cancel(t.Context(), b.ID)
	agenttest.WantError(t, err, fault.WrongState, "completed")
}

// TestAgentRestart restarts the agent during a copy: the client's connections stay open, and the backup completes.
func TestAgentRestart(t *testing.T) {
	w := agenttest.New(t)
	_, sources := w.PutVM("vm", 8<<20, 8<<20)
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	_, err := w.SNA.WaitHeld(t.Context(), b.ID, "copy/0")
	agenttest.Must(t, err)
	w.Stop()
	w.Start()
	w.SNA.Release("copy/0")
	w.Completes(b, sources)
}

func TestSameExportOnTwoControllers(t *testing.T) {
	w := agenttest.New(t)
	vm := record.VM{Name: "twin", Disks: []record.Disk{{ID: 0, CapacityBytes: 1 << 20}, {ID: 1, CapacityBytes: 1 << 20}}}
	_, err := w.Agent.Inventory.Put(vm)
	agenttest.WantError(t, err, fault.InvalidRequest, "both have the disk key 2000")
	vm.Disks[1].DeviceKey = 2016
	_, err = w.Agent.Inventory.Put(vm)
	agenttest.Must(t, err)
}

func TestRepositoryFailures(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Repositories = append(c.Repositories,
			config.Repository{ID: "full", Path: filepath.Dir(c.Agent.StateDirectory) + "/full"},
			config.Repository{ID: "readonly", Path: filepath.Dir(c.Agent.StateDirectory) + "/readonly"},
			config.Repository{ID: "missing", Path: filepath.Dir(c.Agent.StateDirectory) + "/missing"})
		c.Space = config.Space{}
		agenttest.MountTmpfs(t, c.Repositories[1].Path, "size=256k")
		agenttest.MountTmpfs(t, c.Repositories[2].Path, "ro")
	})
	w.PutVM("vm", 1<<20, 2<<20)
	agenttest.Must(t, os.WriteFile(w.Config.Repositories[1].Path+"/ballast", make([]byte, 256<<10-8192), 0o600))
	for _, c := range []struct {
		repository string
		reason     fault.Reason
		words      string
	}{
		{"full", fault.NoSpace, "No space left on device"},
		{"readonly", fault.RepositoryFailed, "read-only file system"},
		{"missing", fault.RepositoryFailed, "no such file or directory"},
	} {
		_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: c.repository})
		e := agenttest.WantError(t, err, c.reason, c.words)
		if strings.Contains(e.Message, "could not be removed") {
			t.Errorf("the error of repository %s speaks of a clean-up that has nothing to do: %s", c.repository, e.Message)
		}
	}
	w.Clean()
}

func TestNamesOfUnitsAndJobs(t *testing.T) {
	w := agenttest.New(t)
	_, _ = w.PutVM("x-disk2-y", 1<<20)
	b := w.StartBackup("x-disk2-y")
	b = w.Wait(b.ID)
	if i, ok := nbd.DiskIndex(b.Runs[0].ExportName); !ok || i != 0 {
		t.Errorf("export %s has disk index %d", b.Runs[0].ExportName, i)
	}
}
