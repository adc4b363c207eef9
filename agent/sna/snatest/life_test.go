package snatest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

func client(t *testing.T, server *snatest.Server) *sna.Client {
	t.Helper()
	client, err := sna.New(sna.Options{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestWhatAnEndLooksLike from the SNA, and what it leaves on the VM.
func TestWhatAnEndLooksLike(t *testing.T) {
	for _, test := range []struct {
		name, fault, path string
		err               string
		phase             string // "" where there is no progress, for ever
		percent           float64
		reports, left     int
	}{
		{name: "a wrong password", fault: "login-fails", err: "incorrect user name"},
		{name: "an unknown VM", path: "/DC1/vm/nope", err: "vm '/DC1/vm/nope' not found"},
		{name: "two VMs", path: "/DC1/vm/*", err: "path '/DC1/vm/*' resolves to multiple vms"},
		{name: "no pattern", path: "/DC1/vm/web[1", err: "syntax error in pattern"},
		{name: "quiescing refused", fault: "quiesce-fails", err: "quiescing", phase: "Creating Snapshot", percent: 10},
		{name: "no nbdkit", fault: "nbdkit-fails", err: "nbdkit did not start", phase: "Creating Snapshot", percent: 15, left: 1},
		{name: "removal refused", fault: "remove-fails", err: "could not be removed", phase: "Transfer", percent: 100, reports: 1, left: 1},
		{name: "killed", fault: "die=0", err: "killed", phase: "Transfer", percent: 15, left: 1},
		{name: "well", phase: "Transfer", percent: 100, reports: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := within(t)
			m := newMachine(t, "raw", mib)
			other := m.vm
			other.Path = "/DC1/vm/other"
			h := newHub(t)
			options := snatest.Options{VMs: []snatest.VM{m.vm, other}, Callback: h.URL}
			if test.fault != "" {
				options.Faults = faults(t, test.fault)
			}
			server := newServer(t, options)
			request := m.request(job1)
			if test.path != "" {
				request.VMPath = test.path
			}
			startAsIs(ctx, t, server, request)
			run, err := server.WaitRun(ctx, job1)
			if err != nil || (run.Error == "") != (test.err == "") || !strings.Contains(run.Error, test.err) || run.OpenConnections != 0 {
				t.Errorf("%+v, %v", run, err)
			}
			progress, err := client(t, server).Progress(ctx, job1)
			if test.phase == "" {
				if !errors.Is(err, sna.ErrUnknownJob) {
					t.Errorf("progress %+v, %v", progress, err)
				}
			} else if err != nil || progress.Phase != test.phase || progress.Percentage != test.percent || progress.Status == "failed" {
				t.Errorf("progress %+v, %v", progress, err)
			}
			if status, err := client(t, server).Status(ctx, job1); err != nil || status.Status != "running" || status.VMPath != request.VMPath {
				t.Errorf("status %+v, %v", status, err)
			}
			if left := server.State().Snapshots; len(left) != test.left || len(h.complete) != test.reports {
				t.Errorf("%d reports, snapshots %+v", len(h.complete), left)
			}
		})
	}
}

// TestThePhasesOfProgress in their order, and the 404 before the first of them.
func TestThePhasesOfProgress(t *testing.T) {
	for _, early := range []bool{false, true} {
		t.Run(fmt.Sprintf("early snapshot %v", early), func(t *testing.T) { phases(t, early) })
	}
}

func phases(t *testing.T, early bool) {
	ctx := within(t)
	m := newMachine(t, "raw", mib, mib)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, SnapshotBeforeAnswer: early})
	points := []struct {
		point, phase, operation, status, sync string
		percent                               float64
	}{
		{point: "login"},
		{point: "snapshot"},
		{"disk/0", "Creating Snapshot", "Creating Snapshot", "in_progress", "", 15},
		{"copy/0", "Transfer", "Transferring Data", "in_progress", "full", 15},
		{"complete/0", "Transfer", "Transferring Data", "completed", "full", 100},
		{"copy/1", "Transfer", "Transferring Data", "in_progress", "full", 100},
		{"remove", "Transfer", "Transferring Data", "completed", "full", 100},
	}
	if early { // it is taken before anything can be asked
		points = slices.Delete(points, 1, 2)
	}
	for _, p := range points {
		server.Hold(p.point)
	}
	start(ctx, t, server, m.request(job1))
	for _, p := range points {
		if _, err := server.WaitHeld(ctx, job1, p.point); err != nil {
			t.Fatal(err)
		}
		got, err := client(t, server).Progress(ctx, job1)
		if p.phase == "" {
			if !errors.Is(err, sna.ErrUnknownJob) {
				t.Errorf("%s: %+v, %v", p.point, got, err)
			}
		} else if err != nil || got.Phase != p.phase || got.CurrentOperation != p.operation || got.Status != p.status || got.SyncType != p.sync || got.Percentage != p.percent {
			t.Errorf("%s: %+v, %v", p.point, got, err)
		}
		server.Release(p.point)
	}
	finished(ctx, t, server, job1)
	status, text := get(t, server.URL+"/api/v1/progress/"+job1)
	for _, name := range []string{`"vm_info":{`, `"phases":[{"`, `"phase_start":"`, `"cbt_enabled":true`} {
		if status != 200 || !strings.Contains(text, name) {
			t.Errorf("no %s in %s", name, text)
		}
	}
}

// TestTerminate: SIGTERM leaves the snapshot, unless SBC has no connection yet, or
// its two handlers run the other way.
func TestTerminate(t *testing.T) {
	for _, test := range []struct {
		point, fault string
		left         int
	}{
		{"login", "", 0},
		{"disk/0", "", 0},
		{"copy/0", "", 1},
		{"copy/0", "term-removes", 0},
		{"disk/1", "", 1},
		{"complete/1", "", 1},
	} {
		t.Run(test.point+test.fault, func(t *testing.T) {
			ctx := within(t)
			m := newMachine(t, "raw", mib, mib)
			options := snatest.Options{VMs: []snatest.VM{m.vm}}
			if test.fault != "" {
				options.Faults = faults(t, test.fault)
			}
			server := newServer(t, options)
			server.Hold(test.point)
			start(ctx, t, server, m.request(job1))
			if _, err := server.WaitHeld(ctx, job1, test.point); err != nil {
				t.Fatal(err)
			}
			if err := server.Terminate(ctx, job1); err != nil {
				t.Fatal(err)
			}
			state := server.State()
			if run := state.Runs[0]; len(state.Snapshots) != test.left || !run.Terminated || run.Killed || run.OpenConnections != 0 {
				t.Errorf("snapshots %+v, run %+v", state.Snapshots, run)
			}
		})
	}
}

// TestLeftOverSnapshots go with the next SBC of their VM, of whatever job they are,
// if vCenter allows it; a refusal is no error.
func TestLeftOverSnapshots(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", mib)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}})
	const replication = "replication-1760000000"
	runs := func(job, fault string, want ...string) {
		t.Helper()
		set := snatest.Faults{}
		if fault != "" {
			set = faults(t, fault)
		}
		if err := server.SetFaults(set); err != nil {
			t.Fatal(err)
		}
		// As any client may: package sna has jobs of backups only.
		body := fmt.Sprintf(`{"job_id":%q,"vm_name":"pgtest1","vm_path":%q,"vcenter_host":"h","vcenter_user":"u","vcenter_password":"p",`+
			`"nbd_targets":%q,"backup_type":"full"}`, job, m.vm.Path, m.targets())
		if status, text := post(t, server.URL+"/api/v1/backup/start", body); status != 200 {
			t.Fatalf("%d %s", status, text)
		}
		if _, err := server.WaitRun(ctx, job); err != nil {
			t.Fatal(err)
		}
		names := []string{}
		for _, left := range server.State().Snapshots {
			names = append(names, left.Name)
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", job, diff)
		}
	}
	runs(replication, "nbdkit-fails", "srep-"+replication)
	runs(job1, "remove-fails", "srep-"+replication, "sbak-"+job1)
	runs(job2, "remove-fails", "srep-"+replication, "sbak-"+job1, "sbak-"+job2)
	runs("backup-pgtest1-1760000002", "", "srep-"+replication)
}

// TestAnSNAThatRestarts forgets its jobs. SBC continues, and its next report is a new job.
func TestAnSNAThatRestarts(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", mib)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}})
	server.Hold("disk/0")
	start(ctx, t, server, m.request(job1))
	if _, err := server.WaitHeld(ctx, job1, "disk/0"); err != nil {
		t.Fatal(err)
	}
	server.Forget()
	if _, err := client(t, server).Progress(ctx, job1); !errors.Is(err, sna.ErrUnknownJob) {
		t.Errorf("progress: %v", err)
	}
	server.Release("disk/0")
	finished(ctx, t, server, job1)
	if _, err := client(t, server).Status(ctx, job1); !errors.Is(err, sna.ErrUnknownJob) {
		t.Errorf("status: %v", err)
	}
	if progress, err := client(t, server).Progress(ctx, job1); err != nil || progress.Percentage != 100 {
		t.Errorf("progress %+v, %v", progress, err)
	}
}

// TestUptimeIsNonsense: the time since the question.
func TestUptimeIsNonsense(t *testing.T) {
	server := newServer(t, snatest.Options{})
	asked := time.Now()
	_, text := get(t, server.URL+"/api/v1/health")
	answered := time.Since(asked)
	_, uptime, found := strings.Cut(text, `"uptime":"`)
	uptime, _, _ = strings.Cut(uptime, `"`)
	if lived, err := time.ParseDuration(uptime); !found || err != nil || lived.Abs() > answered {
		t.Errorf("%s: %v", text, err)
	}
}
