package snatest_test

import (
	"testing"

	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestOpenConnections is how many connections are open when a disk is reported,
// and when the snapshot is removed. A full copy keeps its first one; an incremental
// closes its second one before the report, and has lost the first, which closes
// when SBC collects its garbage or ends.
func TestOpenConnections(t *testing.T) {
	for _, test := range []struct {
		name           string
		lost           string
		changed        int // bytes, -1 for a full copy
		made           int
		report, remove int
	}{
		{"full", "", -1, 2, 1, 0},
		{"incremental of nothing", "", 0, 1, 1, 0},
		{"small incremental", "", 64 << 10, 2, 1, 1},
		{"large incremental", "", 6 * mib, 2, 0, 0},
		{"large incremental, nothing collected", "until-end", 6 * mib, 2, 1, 1},
		{"small incremental, collected at once", "at-once", 64 << 10, 2, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := within(t)
			m := newMachine(t, "raw", 8*mib)
			h := newHub(t)
			server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
			job := job1
			if test.changed >= 0 {
				start(ctx, t, server, m.request(job1))
				finished(ctx, t, server, job1)
				h.mu.Lock()
				h.changeIDs["0"] = h.complete[0]
				h.mu.Unlock()
				for at := range test.changed {
					m.content[0][mib+at] ^= 0xff
				}
				writeSource(t, m.vm.Disks[0].Source, m.content[0])
				job = job2
			}
			if test.lost != "" {
				if err := server.SetFaults(faults(t, "lost-handle="+test.lost)); err != nil {
					t.Fatal(err)
				}
			}
			h.onDone = func(int) {
				if run, _ := server.State().Run(job); run.OpenConnections != test.report {
					t.Errorf("%d connections open during the report", run.OpenConnections)
				}
			}
			server.Hold("remove")
			start(ctx, t, server, m.request(job))
			if run, err := server.WaitHeld(ctx, job, "remove"); err != nil || run.OpenConnections != test.remove {
				t.Errorf("before the removal of the snapshot: %+v, %v", run, err)
			}
			server.Release("remove")
			run := finished(ctx, t, server, job)
			if run.Connections != test.made || run.Disks[0].Connections != test.made {
				t.Errorf("%+v", run)
			}
			m.exports[0].holds(t, m.content[0])
		})
	}
}

// TestALostHandleOfOneDiskOutlivesIt: it closes when another disk causes a garbage collection.
func TestALostHandleOfOneDiskOutlivesIt(t *testing.T) {
	ctx := within(t)
	m := newMachine(t, "raw", mib, 8*mib)
	h := newHub(t)
	server := newServer(t, snatest.Options{VMs: []snatest.VM{m.vm}, Callback: h.URL})
	start(ctx, t, server, m.request(job1))
	finished(ctx, t, server, job1)
	m.content[0][0] ^= 1
	writeSource(t, m.vm.Disks[0].Source, m.content[0])
	h.mu.Lock()
	h.changeIDs["0"] = h.complete[0] // the second disk is copied whole
	h.mu.Unlock()
	server.Hold("disk/1")
	server.Hold("complete/1")
	start(ctx, t, server, m.request(job2))
	if run, err := server.WaitHeld(ctx, job2, "disk/1"); err != nil || run.OpenConnections != 1 {
		t.Errorf("between the disks: %+v, %v", run, err)
	}
	server.Release("disk/1")
	if run, err := server.WaitHeld(ctx, job2, "complete/1"); err != nil || run.OpenConnections != 1 || run.Connections != 4 {
		t.Errorf("after the second disk: %+v, %v", run, err)
	}
	server.Release("complete/1")
	finished(ctx, t, server, job2)
}
