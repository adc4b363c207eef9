package snatest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestTelemetry is what the SHA receives: almost nothing for a disk below 1 GiB.
func TestTelemetry(t *testing.T) {
	for _, test := range []struct {
		name      string
		fileBytes int64
		want      []string
	}{
		{"below 1 GiB", 1<<30 - 2, []string{
			"telemetry completed completed 0 0 0",
			"telemetry completed completed 0 0 0",
		}},
		// Of both disks, in whole GiB; after the first one said 100 % the second one is silent until it says that it is done.
		{"more", 1<<30 + 1, []string{
			"telemetry running completed 2147483648 2147483648 100",
			"telemetry completed completed 0 0 0",
			"telemetry completed completed 0 0 0",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := within(t)
			m := newMachine(t, "raw", mib, mib)
			m.vm.Disks[0].FileBytes, m.vm.Disks[1].FileBytes = test.fileBytes, 1
			if test.fileBytes > 1<<30 {
				m.vm.Disks[1].FileBytes = test.fileBytes
			}
			h := newHub(t)
			server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL, TelemetryInterval: time.Hour})
			start(ctx, t, server, m.request(job1))
			run := finished(ctx, t, server, job1)
			got := slices.DeleteFunc(h.seen(), func(e string) bool { return !strings.HasPrefix(e, "telemetry") })
			if diff := cmp.Diff(test.want, got); diff != "" || run.Telemetry != len(got) {
				t.Errorf("%d delivered (-want +got):\n%s", run.Telemetry, diff)
			}
		})
	}
}

// TestTelemetryBelowAGiB while it runs: bytes of a total of 0, a percentage of 0 and
// a negative time left; and no report to the SNA, because JSON has no infinity.
func TestTelemetryBelowAGiB(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", mib)
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL, TelemetryInterval: time.Millisecond})
	heard := make(chan struct{}, 100)
	h.onTelemetry = func() { heard <- struct{}{} }
	server.Hold("copy/0")
	start(ctx, t, server, m.request(job1))
	for range 3 {
		select {
		case <-heard:
		case <-ctx.Done():
			t.Fatal("no telemetry")
		}
	}
	run, err := server.WaitHeld(ctx, job1, "copy/0")
	if err != nil {
		t.Fatal(err)
	}
	done := run.Disks[0].BytesWritten + run.Disks[0].BytesZeroed
	if want := fmt.Sprintf("telemetry running transferring %d 0 0", done); !slices.Contains(h.seen(), want) {
		t.Errorf("no %q in %q", want, h.seen())
	}
	if eta := h.lastETA(); eta > 0 {
		t.Errorf("%d seconds left", eta)
	}
	if progress, err := client(t, server).Progress(ctx, job1); err != nil || progress.Percentage != 15 || progress.BytesTransferred != 0 {
		t.Errorf("progress %+v, %v", progress, err)
	}
	server.Release("copy/0")
	finished(ctx, t, server, job1)
}
