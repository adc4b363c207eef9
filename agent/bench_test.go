package agent_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/record"
)

// BenchmarkTakeUp measures the start of an agent that finds 100 running exports, until it can report every export as alive. "listings" is
// the same time divided by the time of one D-Bus listing of the 100 units, measured in between. A busy machine does not change that
// number.
func BenchmarkTakeUp(b *testing.B) {
	w := agenttest.New(b)
	const vms, disks = 10, 10
	sizes := make([]int64, disks)
	for i := range sizes {
		sizes[i] = 1 << 20
	}
	w.SNA.Hold("copy/0")
	var ids []string
	for i := range vms {
		name := fmt.Sprint("vm", i)
		w.PutVM(name, sizes...)
		started, err := w.Agent.Backups.Start(b.Context(), backup.Request{VMName: name, Type: record.Full, Repository: "main"})
		agenttest.Must(b, err)
		ids = append(ids, started.ID)
	}
	var listing, takeUp time.Duration
	for b.Loop() {
		b.StopTimer()
		began := time.Now()
		_, err := w.Units.List(b.Context(), "sendense-nbd-")
		agenttest.Must(b, err)
		listing += time.Since(began)
		w.Stop()
		began = time.Now()
		b.StartTimer()
		w.Start()
		exports, err := w.Agent.ListExports(b.Context())
		agenttest.Must(b, err)
		alive := 0
		for _, e := range exports {
			if e.PID != 0 {
				alive++
			}
		}
		if alive != vms*disks {
			b.Fatalf("%d exports are alive", alive)
		}
		takeUp += time.Since(began)
	}
	b.StopTimer()
	b.ReportMetric(takeUp.Seconds()/listing.Seconds(), "listings")
	w.SNA.Release("copy/0")
	for _, id := range ids {
		w.Wait(id)
	}
}
