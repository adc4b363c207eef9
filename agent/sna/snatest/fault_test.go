package snatest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

func faults(t *testing.T, specs ...string) snatest.Faults {
	t.Helper()
	faults, err := snatest.ParseFaults(specs...)
	if err != nil {
		t.Fatal(err)
	}
	return faults
}

func TestFaultyAnswers(t *testing.T) {
	for _, test := range []struct {
		specs   []string
		refused bool // else the outcome is unknown
		forked  bool
	}{
		{[]string{"refuse=400:no such VM"}, true, false},
		{[]string{"fail-acting=500:out of memory"}, true, true},
		{[]string{"answer=hang"}, false, true},
		{[]string{"answer=hang", "inert"}, false, false},
		{[]string{"answer=reset"}, false, true},
		{[]string{"answer=garbage"}, false, true},
		{[]string{"answer=truncated"}, false, true},
		{[]string{"answer=huge"}, false, true},
		{[]string{"answer=wrong-job"}, false, true},
		{[]string{"delay=10s"}, false, false},
	} {
		t.Run(strings.Join(test.specs, " "), func(t *testing.T) {
			ctx := within(t)
			m := &machine{vm: snatest.VM{Path: "/DC1/vm/pgtest1"}}
			server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Faults: faults(t, test.specs...)})
			o := sna.Options{URL: server.URL, StartTimeout: patience}
			if spec := test.specs[0]; spec == "answer=hang" || strings.HasPrefix(spec, "delay=") {
				o.StartTimeout = 300 * time.Millisecond
			}
			client, err := sna.New(o)
			if err != nil {
				t.Fatal(err)
			}
			request := m.request(job1)
			request.NBDTargets = "2000:nbd://127.0.0.1:1/x-disk0"
			_, err = client.Start(ctx, request)
			var unknown *sna.OutcomeUnknownError
			if err == nil || sna.NotStarted(err) != test.refused || errors.As(err, &unknown) == test.refused {
				t.Errorf("got %v", err)
			}
			if state := server.State(); (len(state.Runs) == 1) != test.forked {
				t.Errorf("runs %+v", state.Runs)
			}
		})
	}
}

// Whether a byte was written before the close was seen is a matter of time; both
// errors are true in their case.
func TestCloseAtAccept(t *testing.T) {
	server := newServer(t, snatest.Options{Faults: faults(t, "close-at-accept=1")})
	client, err := sna.New(sna.Options{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	request := (&machine{}).request(job1)
	request.VMPath, request.NBDTargets = "/DC1/vm/pgtest1", "2000:nbd://127.0.0.1:1/x-disk0"
	_, err = client.Start(within(t), request)
	var (
		unknown     *sna.OutcomeUnknownError
		unreachable *sna.UnreachableError
	)
	if !errors.As(err, &unknown) && !errors.As(err, &unreachable) {
		t.Errorf("got %v", err)
	}
	if _, err := client.Start(within(t), request); err != nil {
		t.Errorf("the connection after it: %v", err)
	}
	if posts := server.State().PostsPerJob[job1]; posts != 1 {
		t.Errorf("%d posts", posts)
	}
}

func TestFaultyRuns(t *testing.T) {
	for _, test := range []struct {
		spec    string
		err     string
		reports []string // "position:reported id:number of reports"
		alive   int      // snapshots left behind
	}{
		{"login-fails", "incorrect user name", nil, 0},
		{"die=1", "killed", []string{"complete 0"}, 1},
		{"silent=0", "", []string{"complete 1"}, 0},
		{"report-twice", "", []string{"complete 0", "complete 0", "complete 1", "complete 1"}, 0},
		{"wrong-index=1:7", "", []string{"complete 0", "complete 7"}, 0},
		{"slow=8388608", "", []string{"complete 0", "complete 1"}, 0},
	} {
		t.Run(test.spec, func(t *testing.T) {
			ctx := within(t)
			m := newMachine(t, "raw", 2<<20, 2<<20)
			h := newHub(t)
			server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL, Faults: faults(t, test.spec)})
			began := time.Now()
			start(ctx, t, server, m.request(job1))
			run, err := server.WaitRun(ctx, job1)
			if err != nil {
				t.Fatal(err)
			}
			if (run.Error == "") != (test.err == "") || !strings.Contains(run.Error, test.err) {
				t.Errorf("error %q", run.Error)
			}
			if state := server.State(); len(state.Snapshots) != test.alive || run.OpenConnections != 0 {
				t.Errorf("snapshots %v, run %+v", state.Snapshots, run)
			}
			var reports []string
			for _, event := range h.seen() {
				if before, found := strings.CutPrefix(event, "complete "+job1+" "); found {
					reports = append(reports, "complete "+before)
				}
			}
			if diff := cmp.Diff(test.reports, reports); diff != "" {
				t.Errorf("reports (-want +got):\n%s", diff)
			}
			if strings.HasPrefix(test.spec, "slow") && time.Since(began) < 300*time.Millisecond {
				t.Errorf("4 MiB at 8 MiB/s took %v", time.Since(began))
			}
		})
	}
}

func TestARefusedReportFailsTheRun(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 1<<20, 1<<20)
	h := newHub(t)
	h.status = 201
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
	start(ctx, t, server, m.request(job1))
	run, err := server.WaitRun(ctx, job1)
	if err != nil || !strings.Contains(run.Error, "disk 0") || !strings.Contains(run.Error, "status 201") {
		t.Errorf("%+v, %v", run, err)
	}
}

func TestADiskWithoutTargetFailsTheRunMidway(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 1<<20, 1<<20)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}})
	request := m.request(job1)
	first, second, _ := strings.Cut(request.NBDTargets, ",")
	request.NBDTargets = "nonsense," + strings.Replace(second, "2001:", "2000:", 1) + "," + first // the last of a key wins
	start(ctx, t, server, request)
	run, err := server.WaitRun(ctx, job1)
	if err != nil || !strings.Contains(run.Error, "no NBD target found for VMware disk key 2001") || run.Disks[0].Export != "pgtest1-disk0" {
		t.Errorf("%+v, %v", run, err)
	}
	if left := server.State().Snapshots; len(left) != 0 {
		t.Errorf("snapshots left: %v", left)
	}
	m.exports[0].holds(t, m.content[0])
}

func TestAnExportTooSmallFailsTheRunMidway(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 4<<20)
	m.exports[0] = serveImage(t, newImage(t, "raw", 2<<20), "raw", "pgtest1-disk0")
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, RequestBytes: 64 << 10})
	start(ctx, t, server, m.request(job1))
	run, err := server.WaitRun(ctx, job1)
	if err != nil || run.Error == "" || run.Disks[0].BytesWritten+run.Disks[0].BytesZeroed == 0 {
		t.Errorf("%+v, %v", run, err)
	}
}

func TestASecondPostDestroysTheFirstRun(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 4<<20)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, RequestBytes: 64 << 10})
	server.Hold("copy/0")
	start(ctx, t, server, m.request(job1))
	first, err := server.WaitHeld(ctx, job1, "copy/0")
	if err != nil {
		t.Fatal(err)
	}
	if d := first.Disks[0]; d.BytesWritten+d.BytesZeroed == 0 || d.BytesWritten+d.BytesZeroed >= 4<<20 {
		t.Errorf("half way: %+v", d)
	}
	start(ctx, t, server, m.request(job2))
	first, err = server.WaitRun(ctx, job1)
	if err != nil || !strings.Contains(first.Error, "snapshot was removed") {
		t.Errorf("%+v, %v", first, err)
	}
	server.Release("copy/0")
	finished(ctx, t, server, job2)
}

func TestASecondPostOfAJobIsASecondRun(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 1<<20)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}})
	start(ctx, t, server, m.request(job1))
	finished(ctx, t, server, job1)
	start(ctx, t, server, m.request(job1))
	finished(ctx, t, server, job1)
	if state := server.State(); state.PostsPerJob[job1] != 2 || len(state.Runs) != 2 {
		t.Errorf("%d posts, %d runs", state.PostsPerJob[job1], len(state.Runs))
	}
}

func TestKillLeavesTheSnapshotForTheNextRun(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 4<<20)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}})
	server.Hold("copy/0")
	start(ctx, t, server, m.request(job1))
	if _, err := server.WaitHeld(ctx, job1, "copy/0"); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(ctx, job1); err != nil {
		t.Fatal(err)
	}
	if state := server.State(); !state.Runs[0].Killed || len(state.Snapshots) != 1 || state.Runs[0].OpenConnections != 0 {
		t.Errorf("state %+v", state)
	}
	server.Release("copy/0")
	start(ctx, t, server, m.request(job2))
	finished(ctx, t, server, job2)
	if left := server.State().Snapshots; len(left) != 0 {
		t.Errorf("snapshots left: %v", left)
	}
	m.exports[0].holds(t, m.content[0])
}

func TestLingerKeepsTheConnectionAfterTheLastReport(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 1<<20)
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL, Faults: faults(t, "linger=300ms", "pause=disconnect/0")})
	began := time.Now()
	start(ctx, t, server, m.request(job1))
	run, err := server.WaitHeld(ctx, job1, "disconnect/0")
	if err != nil || run.OpenConnections != 1 || time.Since(began) < 300*time.Millisecond || len(run.Disks[0].Reports) != 1 {
		t.Errorf("%+v, %v", run, err)
	}
	server.Release("disconnect/0")
	finished(ctx, t, server, job1)
}

func TestStoppingAnExportEndsTheRun(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 4<<20)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, RetryDelay: time.Millisecond})
	server.Hold("copy/0")
	start(ctx, t, server, m.request(job1))
	if _, err := server.WaitHeld(ctx, job1, "copy/0"); err != nil {
		t.Fatal(err)
	}
	m.exports[0].stop(t)
	server.Release("copy/0")
	run, err := server.WaitRun(ctx, job1)
	if err != nil || !strings.Contains(run.Error, "write at") || len(server.State().Snapshots) != 0 {
		t.Errorf("%+v, %v", run, err)
	}
}

func TestCloseEndsRunsThatAreHeld(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", 1<<20)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}})
	server.Hold("copy/0")
	start(ctx, t, server, m.request(job1))
	if _, err := server.WaitHeld(ctx, job1, "copy/0"); err != nil {
		t.Fatal(err)
	}
	server.Close()
	if run, err := server.WaitRun(context.Background(), job1); err != nil || !run.Killed {
		t.Errorf("%+v, %v", run, err)
	}
}

// TestLateStart: an SNA that is slower than its caller's time limit still starts the backup.
func TestLateStart(t *testing.T) {
	ctx := within(t)
	m := &machine{vm: snatest.VM{Path: "/DC1/vm/pgtest1"}}
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Faults: faults(t, "delay=1s", "late")})
	client, err := sna.New(sna.Options{URL: server.URL, StartTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	request := m.request(job1)
	request.NBDTargets = "2000:nbd://127.0.0.1:1/x-disk0"
	var unknown *sna.OutcomeUnknownError
	if _, err := client.Start(ctx, request); !errors.As(err, &unknown) {
		t.Errorf("got %v", err)
	}
	if _, err := server.WaitRun(ctx, job1); err != nil {
		t.Error(err)
	}
}

func TestFaultSpecsRoundTrip(t *testing.T) {
	specs := []string{
		"fail-acting=503:a=b: c", "inert", "delay=3s", "late", "close-at-accept=2", "discover-fails=x", "login-fails", "quiesce-fails", "nbdkit-fails", "remove-fails", "term-removes", "lost-handle=until-end", "die=0", "die=2",
		"silent=1", "report-twice", "wrong-index=0:1", "linger=1m0s", "slow=4096", "pause=copy/1",
	}
	parsed := faults(t, specs...)
	if got := parsed.Specs(); !slices.Equal(got, specs) {
		t.Errorf("got %q", got)
	}
	for _, bad := range []string{"", "die", "die=x", "inert=1", "pause=lunch", "refuse=200", "answer=late", "wrong-index=1", "slow=", "linger=1", "explode", "lost-handle=soon"} {
		if _, err := snatest.ParseFaults(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
