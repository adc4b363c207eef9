package agent_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

var (
	seed  = flag.Uint64("seed", 0, "seed of TestRandomLife; 0 for a new one")
	steps = flag.Int("steps", 100, "steps of TestRandomLife")
)

// A driver runs backups of a few VMs and makes random things happen to them.
type driver struct {
	*agenttest.World
	random  *rand.Rand
	sources map[string][]string
	held    bool
	log     []string
}

// expected are the reasons with which a request may fail meanwhile.
var expected = []fault.Reason{
	fault.BackupInProgress, fault.CoolingDown, fault.WrongState, fault.NoParent, fault.NoFreePort, fault.Busy, fault.QueueFull,
	fault.SNARefused, fault.SNAOutcomeUnknown, fault.ExporterFailed,
}

// TestRandomLife checks the invariants of ARCHITECTURE.md after each of many random events, on real parts. -seed repeats a test.
func TestRandomLife(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -seed %d -steps %d", *seed, *steps)
	l := &driver{
		World: agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
			c.Limits.MaxBackups = 2
			c.SNA.StartTimeout = config.DurationOf(2 * time.Second)
			c.SNA.Cooldown = config.DurationOf(500 * time.Millisecond)
			c.Deadlines.FirstConnection = config.DurationOf(3 * time.Second)
			c.Deadlines.NoProgress = config.DurationOf(5 * time.Second)
			c.Deadlines.Disconnect = config.DurationOf(3 * time.Second)
			c.NBD.FirstPort, c.NBD.LastPort = 10100, 10105
		}),
		random:  rand.New(rand.NewPCG(*seed, 1)),
		sources: map[string][]string{},
	}
	for i, vm := range []string{"one", "two", "three"} {
		sizes := make([]int64, i+1)
		for d := range sizes {
			sizes[d] = 4 << 20
		}
		_, l.sources[vm] = l.PutVM(vm, sizes...)
	}
	for range *steps {
		l.step()
		l.invariants()
		if t.Failed() {
			t.Fatalf("after %s", strings.Join(l.log, ", "))
		}
	}
	l.release()
	l.settle()
}

// step makes one thing happen.
func (l *driver) step() {
	vm := []string{"one", "two", "three"}[l.random.IntN(3)]
	stream := []struct {
		name   string
		happen func()
	}{
		{"start " + vm, func() { l.begin(vm, record.Full) }},
		{"start auto " + vm, func() { l.begin(vm, record.Auto) }},
		{"start incremental " + vm, func() { l.begin(vm, record.Incremental) }},
		{"cancel " + vm, func() { l.cancel(vm) }},
		{"kill exporter of " + vm, func() { l.killExporter(vm) }},
		{"hold", func() { l.SNA.Hold("copy/0"); l.held = true }},
		{"release", l.release},
		{"faults", l.faults},
		{"restart", func() { l.Stop(); l.Start() }},
		{"write to " + vm, func() { agenttest.Scribble(l.TB, l.sources[vm][0], int64(l.random.IntN(60))<<16) }},
		{"wait", func() { time.Sleep(time.Duration(l.random.IntN(300)) * time.Millisecond) }},
		{"wait for " + vm, func() { l.waitFor3s(vm) }},
		{"heal", func() { l.release(); agenttest.Must(l.TB, l.SNA.SetFaults(snatest.Faults{})) }},
	}
	e := stream[l.random.IntN(len(stream))]
	l.log = append(l.log, e.name)
	e.happen()
}

func (l *driver) begin(vm string, kind record.Type) {
	_, err := l.Agent.Backups.Start(l.Context(), backup.Request{
		VMName: vm, Type: kind, Repository: "main", Queue: l.random.IntN(2) == 0,
	})
	var e *fault.Error
	if err != nil && (!errors.As(err, &e) || !slices.Contains(expected, e.Reason)) {
		l.Errorf("start of %s: %v", vm, err)
	}
}

func (l *driver) active(vm string) (record.Backup, bool) {
	active, err := l.Store.Active()
	agenttest.Must(l.TB, err)
	for _, b := range active {
		if b.VM.Name == vm {
			return b, true
		}
	}
	return record.Backup{}, false
}

func (l *driver) cancel(vm string) {
	if b, ok := l.active(vm); ok {
		b, err := l.Agent.Backups.Cancel(l.Context(), b.ID)
		var e *fault.Error
		tooLate := errors.As(err, &e) && e.Reason == fault.WrongState // it has ended, or the agent is writing its manifest
		if err != nil && !tooLate || !b.State.Terminal() && (!tooLate || b.PublishingAt.IsZero()) {
			l.Errorf("cancel of %s, which is %s: %v", b.ID, b.State, err)
		}
	}
}

func (l *driver) killExporter(vm string) {
	if b, ok := l.active(vm); ok && len(b.Runs) > 0 {
		if d := b.Runs[l.random.IntN(len(b.Runs))]; d.PID != 0 && d.Result == "" {
			if p, err := os.FindProcess(d.PID); err == nil {
				_ = p.Kill() // it may have ended
			}
		}
	}
}

// waitFor3s gives a backup up to 3 seconds to end.
func (l *driver) waitFor3s(vm string) {
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if _, ok := l.active(vm); !ok {
			return
		}
	}
}

func (l *driver) faults() {
	all := []snatest.Faults{
		{},
		{},
		{},
		{Answer: snatest.AnswerRefuse, Status: 500, Text: "no"},
		{Answer: snatest.AnswerReset},
		{LoginFails: true},
		{DieInDisks: []int{0}},
		{ReportTwice: true},
		{SilentDisks: []int{0}},
		{Answer: snatest.AnswerGarbage, Inert: true},
	}
	agenttest.Must(l.TB, l.SNA.SetFaults(all[l.random.IntN(len(all))]))
}

func (l *driver) release() {
	if l.held {
		l.SNA.Release("copy/0")
		l.held = false
	}
}

// invariants checks what must hold at any moment.
func (l *driver) invariants() {
	l.Helper()
	for id, n := range l.SNA.State().PostsPerJob {
		if n != 1 {
			l.Errorf("the SNA was asked %d times for %s", n, id)
		}
	}
	agenttest.Must(l.TB, l.Store.Check(l.Context()))
	leases, err := l.Store.Leases()
	agenttest.Must(l.TB, err)
	ports := map[uint16]string{}
	for _, lease := range leases {
		if other, ok := ports[lease.Port]; ok {
			l.Errorf("port %d is leased to %s and %s", lease.Port, lease.BackupID, other)
		}
		ports[lease.Port] = lease.BackupID
		if b, err := l.Agent.Records.Backup(lease.BackupID); err != nil {
			l.Errorf("port %d is leased to %s: %v", lease.Port, lease.BackupID, err)
		} else if b.State.Terminal() {
			l.leaseReturned(lease) // it may have ended since the leases were read
		}
	}
}

func (l *driver) leaseReturned(old record.Lease) {
	leases, err := l.Store.Leases()
	agenttest.Must(l.TB, err)
	if slices.Contains(leases, old) {
		l.Errorf("port %d is leased to %s, which has ended", old.Port, old.BackupID)
	}
}

// settle waits until everything has ended, and checks every restore point: its manifest and its chain are undamaged, and its exporters
// ended cleanly.
func (l *driver) settle() {
	agenttest.Must(l.TB, l.SNA.SetFaults(snatest.Faults{}))
	for cursor := ""; ; {
		list, next, err := l.Agent.Records.List(ledger.ListQuery{Cursor: cursor})
		agenttest.Must(l.TB, err)
		for _, b := range list {
			if b = l.Wait(b.ID); b.State == record.Completed {
				l.sound(b)
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	l.Clean()
	outcomes := map[record.State]int{}
	list, _, err := l.Agent.Records.List(ledger.ListQuery{Limit: 1000})
	agenttest.Must(l.TB, err)
	for _, b := range list {
		outcomes[b.State]++
	}
	l.Logf("%d backups: %s", len(list), fmt.Sprint(outcomes))
}

func (l *driver) sound(b record.Backup) {
	for _, d := range b.Runs {
		if d.Result != "success" || !d.Complete || d.ChangeID == "" {
			l.Errorf("restore point %s, disk %d: result %q, complete %v, change id %q", b.ID, d.DiskID, d.Result, d.Complete, d.ChangeID)
		}
		if _, err := os.Stat(d.Image); err != nil {
			l.Errorf("restore point %s: %v", b.ID, err)
		}
	}
	if b.Parent == "" {
		return
	}
	if p, err := l.Agent.Records.Backup(b.Parent); err != nil || p.State != record.Completed {
		l.Errorf("restore point %s stands on %s, which is %s: %v", b.ID, b.Parent, p.State, err)
	}
}
