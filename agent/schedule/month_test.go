package schedule

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/hook"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/metrics"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/run"
	"github.com/sendense/backup-agent/agent/store"
)

var estateVMs = flag.Int("estate", 60, "`VMS` of TestMonth")

const (
	estateNights = 31
	estateRPO    = 26 * time.Hour
)

// An estate is a hub with many VMs on a clock that runs ahead whenever nothing is left to do. Schedules, runs and records are the real ones. Of
// the backups only the records are: what a backup does takes no time of the test.
type estate struct {
	*testing.T
	cfg  *config.Config
	db   *store.Store
	log  *slog.Logger
	jobs *job.Group

	mu     sync.Mutex
	active map[string]chan struct{} // by backup id
	most   int                      // backups at the same time
	starts int
}

// TestMonth: a month of an estate (60 VMs here, 300 by "make month") with an SNA that is away, a repository without space, clients that end, a VM that nobody can back up, VMs that
// come and go, agents that are killed, and the night on which the clocks are set forward. Every VM is within its RPO, or the records tell why
// not, and no VM is backed up twice in a run.
func TestMonth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t)
		for i := range *estateVMs {
			e.add(i)
		}
		e.begin()
		random := rand.New(rand.NewPCG(5, 6))
		end := time.Now().AddDate(0, 0, estateNights)
		for n := 0; time.Now().Before(end); n++ {
			time.Sleep(time.Duration(1+random.IntN(20)) * time.Hour)
			if n%3 == 0 {
				e.restart()
			}
			if n == 20 {
				e.add(*estateVMs) // one that was made yesterday
			}
		}
		e.stop()
		e.wait()
		e.judge()
	})
}

func newEstate(t *testing.T) *estate {
	t.Helper()
	time.Sleep(time.Until(at(t, "2026-03-12T12:00:00Z")))
	e := &estate{T: t, cfg: config.Default(), log: slog.New(slog.DiscardHandler), active: map[string]chan struct{}{}}
	e.cfg.Repositories = []config.Repository{{ID: "main", Path: t.TempDir()}}
	e.cfg.DefaultRepository = "main"
	e.cfg.Groups = []config.Group{{ID: "all", VMs: []string{"*"}}}
	e.cfg.Schedules = []config.Schedule{{
		ID: "nightly", Groups: []string{"all"}, Repository: "main", Calendar: "22:00", TimeZone: "Europe/Berlin", Window: config.DurationOf(9 * time.Hour), Parallel: max(*estateVMs/12, 1),
		Spread: config.DurationOf(20 * time.Minute),
	}}
	var err error
	e.db, err = store.Open(filepath.Join(t.TempDir(), "agent.db"), store.Options{NoSync: true})
	must(t, err)
	t.Cleanup(func() { must(t, e.db.Close()) })
	return e
}

func (e *estate) add(i int) {
	e.Helper()
	_, err := e.db.PutVM(record.VM{Name: fmt.Sprintf("vm-%03d", i), Disks: []record.Disk{{CapacityBytes: 1 << 30}}})
	must(e.T, err)
}

// begin starts an agent on the records of the last one.
func (e *estate) begin() {
	e.Helper()
	e.jobs = job.NewGroup()
	counters := metrics.New()
	runs := run.New(run.Parts{
		Config: e.cfg, Store: e.db, Backups: e, Hooks: &hook.Service{Config: e.cfg}, Jobs: e.jobs, Log: e.log, Metrics: counters,
		Inventory: inventory.New(inventory.Parts{Config: e.cfg, Store: e.db, Log: e.log, Metrics: counters}),
	})
	s := New(Parts{Config: e.cfg, Store: e.db, Runs: runs, Jobs: e.jobs, Log: e.log})
	must(e.T, runs.TakeUp())
	for _, c := range e.cfg.Schedules {
		must(e.T, e.jobs.Spawn(func() { s.Watch(c) }))
	}
}

func (e *estate) stop() {
	e.Helper()
	must(e.T, e.jobs.Close(e.Context()))
}

// restart ends the agent, and begins another one an hour later at most. The backups continue.
func (e *estate) restart() {
	e.Helper()
	e.stop()
	time.Sleep(time.Duration(e.starts%60) * time.Minute)
	e.begin()
}

// wait waits for the backups in progress.
func (e *estate) wait() {
	e.mu.Lock()
	var ends []chan struct{}
	for _, end := range e.active {
		ends = append(ends, end)
	}
	e.mu.Unlock()
	for _, end := range ends {
		<-end
	}
}

// fate is how a backup of a VM that starts at some time ends; nil if it completes. The same backup has the same fate each time.
func fate(vm string, start time.Time, id string) *fault.Error {
	h := fnv.New64a()
	_, _ = h.Write([]byte(vm + id))
	dice := h.Sum64() % 1000
	night := start.Add(-12 * time.Hour).Day()
	switch {
	case vm == "vm-007" && night < 20: // until somebody looks
		return fault.New(fault.DiskUnknown, "vCenter has a disk that is not on record")
	case vm == "vm-013": // whenever it is tried
		return fault.New(fault.ClientGone, "the client has ended")
	case night == 15 && start.UTC().Hour() < 23 && start.UTC().Hour() > 12:
		return fault.New(fault.SNAUnreachable, "the SNA does not answer")
	case night == 24: // nobody frees space that night
		return fault.New(fault.NoSpace, "the repository is full")
	case dice < 40:
		return fault.New(fault.ClientGone, "the client has ended")
	case dice < 50:
		return fault.New(fault.ExporterFailed, "qemu-nbd has ended")
	}
	return nil
}

// Start puts a backup on record, as package backup does, and moves it along in minutes.
func (e *estate) Start(_ context.Context, r backup.Request) (record.Backup, error) {
	vm, err := e.db.VM(r.VMName)
	if err != nil {
		return record.Backup{}, fault.From(err)
	}
	b, existing, err := e.db.Prepare(store.Preparation{
		Backup: record.Backup{VM: vm, Type: record.Full, Repository: r.Repository, RequestID: r.RequestID, Tags: r.Tags},
		Now:    time.Now(),
		ID:     func(seconds int64) string { return fmt.Sprintf("backup-%s-%d", r.VMName, seconds) },
		Ports: func(_ uint16, taken func(uint16) bool, n int) (list []uint16, err error) {
			for port := uint16(10100); len(list) < n; port++ {
				if !taken(port) {
					list = append(list, port)
				}
			}
			return list, nil
		},
		Complete: func(b *record.Backup, leases []record.Lease) {
			b.Directory = "/backup/" + b.ID
			for i := range b.Runs {
				b.Runs[i].ExportName, b.Runs[i].Image, b.Runs[i].Unit = b.ID, b.Directory+"/disk0.qcow2", "unit-"+leases[i].Nonce
			}
		},
	})
	if err != nil || existing {
		return b, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	done := make(chan struct{})
	e.active[b.ID], e.starts = done, e.starts+1
	e.most = max(e.most, len(e.active))
	go e.copy(b, done)
	return b, nil
}

func (e *estate) copy(b record.Backup, done chan struct{}) {
	failure := fate(b.VM.Name, b.CreatedAt, b.RequestID)
	time.Sleep(time.Duration(5+len(b.RequestID)%7*3) * time.Minute)
	states := []record.State{record.Exporting, record.Calling, record.Running, record.Finishing, record.Completed}
	if failure != nil {
		states = []record.State{record.Undoing, record.Failed}
	}
	for _, state := range states {
		_, _, err := e.db.Update(b.ID, time.Now(), func(b *record.Backup) error {
			b.State = state
			if failure != nil {
				b.Failure = &record.Failure{Reason: string(failure.Reason), Message: failure.Message}
			}
			return nil
		})
		if err != nil {
			e.Errorf("backup %s: %v", b.ID, err)
		}
	}
	e.mu.Lock()
	delete(e.active, b.ID)
	e.mu.Unlock()
	close(done)
}

// Cancel is not used in this month.
func (e *estate) Cancel(_ context.Context, id string) (record.Backup, error) {
	return record.Backup{}, fmt.Errorf("cancel of %s", id)
}

// Ended is closed when a backup has ended.
func (e *estate) Ended(id string) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if end, active := e.active[id]; active {
		return end
	}
	end := make(chan struct{})
	close(end)
	return end
}

// judge looks at the records of the month.
func (e *estate) judge() {
	e.Helper()
	runs, err := e.db.Runs(store.RunQuery{})
	must(e.T, err)
	if len(runs) != estateNights && len(runs) != estateNights+1 {
		e.Errorf("%d runs in %d nights", len(runs), estateNights)
	}
	good, told := map[string][]time.Time{}, map[string][]time.Time{} // by VM
	for _, r := range runs {
		_, vms, err := e.db.Run(r.ID)
		must(e.T, err)
		for _, v := range vms {
			points := 0
			for _, try := range v.Tries {
				b, err := e.db.Backup(try.BackupID)
				if err == nil && b.State == record.Completed {
					points++
					good[v.VM] = append(good[v.VM], b.EndedAt)
				}
			}
			if points > 1 || (points == 1) != (v.State == record.RunVMCompleted) {
				e.Errorf("run %s: VM %s is %s, and has %d restore points", r.ID, v.VM, v.State, points)
			}
			if first, failed := v.FirstError(); v.State != record.RunVMCompleted && (v.Why != "" || failed && first.Message != "") {
				told[v.VM] = append(told[v.VM], r.Due)
			}
		}
	}
	e.late(good, told)
	var usage syscall.Rusage
	must(e.T, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	e.Logf("%d backups were started, at most %d at the same time; %d s of CPU", e.starts, e.most, usage.Utime.Sec+usage.Stime.Sec)
}

// late looks for times without a restore point that nobody was told of.
func (e *estate) late(good, told map[string][]time.Time) {
	e.Helper()
	late := 0
	for i := range *estateVMs {
		vm := fmt.Sprintf("vm-%03d", i)
		last := at(e.T, "2026-03-12T21:00:00Z")
		for n, next := range append(good[vm], time.Now()) {
			if next.Sub(last) <= estateRPO+9*time.Hour { // one run may begin with it, and the next one end with it
				last = next
				continue
			}
			late++
			if !between(told[vm], last, next) {
				e.Errorf("%s has no restore point from %s to %s (number %d), and no record tells why", vm, last, next, n)
			}
			last = next
		}
	}
	if late < *estateVMs { // the full repository alone makes all of them late
		e.Errorf("%d times without a restore point: the failures of this month have not happened", late)
	}
	if n := len(good[fmt.Sprintf("vm-%03d", *estateVMs)]); n == 0 {
		e.Error("the VM that was added has no restore point")
	}
}

func between(list []time.Time, from, to time.Time) bool {
	for _, t := range list {
		if t.After(from) && t.Before(to) {
			return true
		}
	}
	return false
}
