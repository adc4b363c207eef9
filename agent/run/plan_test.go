package run

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
)

var begin = time.Date(2026, 12, 1, 22, 0, 0, 0, time.UTC)

func vm(place int, name string, state record.RunVMState, tries ...record.Try) record.RunVM {
	return record.RunVM{VM: name, Place: place, State: state, Tries: tries}
}

func failed(at time.Time) record.Try {
	return record.Try{RequestID: "r", Began: at, Ended: at, Reason: "client_gone"}
}

// TestPlan: who is next, and what the end of the window, a cancel and the queue do.
func TestPlan(t *testing.T) {
	window := record.Run{WindowEnd: begin.Add(time.Hour)}
	hard := window
	hard.CancelAfterWindow = true
	canceling := record.Run{Canceling: true}
	later := vm(0, "a", record.RunVMWaiting, failed(begin))
	later.NextTry = begin.Add(10 * time.Minute)
	free := vm(0, "a", record.RunVMWaiting, record.Try{RequestID: "r", Ended: begin, Reason: "cooling_down", Free: true})
	free.NextTry = begin.Add(time.Minute)
	for name, tt := range map[string]struct {
		run    record.Run
		vms    []record.RunVM
		queued []string
		at     time.Time
		want   step
	}{
		"no VMs": {record.Run{}, nil, nil, begin, step{done: true}},
		"in their order, two at a time": {
			record.Run{},
			[]record.RunVM{vm(2, "a", record.RunVMWaiting), vm(1, "b", record.RunVMWaiting), vm(0, "c", record.RunVMWaiting)},
			nil, begin,
			step{start: []string{"c", "b"}},
		},
		"one runs, one has ended": {
			record.Run{},
			[]record.RunVM{vm(0, "a", record.RunVMCompleted), vm(1, "b", record.RunVMRunning, record.Try{}), vm(2, "c", record.RunVMWaiting), vm(3, "d", record.RunVMWaiting)},
			nil, begin,
			step{start: []string{"c"}},
		},
		"a further try comes after the first ones":    {record.Run{}, []record.RunVM{later, vm(1, "b", record.RunVMWaiting), vm(2, "c", record.RunVMWaiting), vm(3, "d", record.RunVMWaiting)}, nil, begin.Add(time.Hour), step{start: []string{"b", "c"}}},
		"a further try waits":                         {record.Run{}, []record.RunVM{later}, nil, begin, step{wake: later.NextTry}},
		"a further try is due":                        {record.Run{}, []record.RunVM{later}, nil, later.NextTry, step{start: []string{"a"}}},
		"a try that does not count waits for its own": {record.Run{}, []record.RunVM{free, vm(1, "b", record.RunVMWaiting)}, nil, begin, step{start: []string{"b"}, wake: free.NextTry}},
		"before the end of the window": {
			window, []record.RunVM{vm(0, "a", record.RunVMWaiting)}, nil, begin, step{start: []string{"a"}, wake: window.WindowEnd},
		},
		"the window has ended": {
			window,
			[]record.RunVM{vm(0, "a", record.RunVMWaiting), later2(later, "b"), vm(1, "c", record.RunVMRunning, record.Try{})},
			nil, window.WindowEnd,
			step{end: map[string]record.End{
				"a": {State: record.RunVMSkipped, Why: whyWindow},
				"b": {State: record.RunVMFailed, Why: "the window of the schedule ended before its next try"},
			}},
		},
		"the window has ended, and what runs is canceled": {hard, []record.RunVM{vm(1, "c", record.RunVMRunning, record.Try{})}, nil, window.WindowEnd, step{cancel: []string{"c"}}},
		"what is queued when the window ends never begins": {
			window,
			[]record.RunVM{vm(0, "a", record.RunVMRunning, record.Try{}), vm(1, "b", record.RunVMRunning, record.Try{})},
			[]string{"b"},
			window.WindowEnd,
			step{cancel: []string{"b"}},
		},
		"canceled": {
			canceling,
			[]record.RunVM{vm(0, "a", record.RunVMWaiting), vm(1, "b", record.RunVMRunning, record.Try{})},
			nil, begin,
			step{cancel: []string{"b"}, end: map[string]record.End{"a": {State: record.RunVMCanceled, Why: whyCanceled}}},
		},
		"canceled, and nothing runs": {
			canceling,
			[]record.RunVM{vm(0, "a", record.RunVMWaiting)},
			nil, begin,
			step{end: map[string]record.End{"a": {State: record.RunVMCanceled, Why: whyCanceled}}, done: true},
		},
	} {
		queued := map[string]bool{}
		for _, q := range tt.queued {
			queued[q] = true
		}
		if tt.want.end == nil {
			tt.want.end = map[string]record.End{}
		}
		got := plan(tt.run, tt.vms, queued, 2, tt.at)
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(step{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func later2(v record.RunVM, name string) record.RunVM {
	v.VM = name
	return v
}

// TestPlansEnd: whatever VMs do, each ends once, never more than the limit run at once, none begins after the window, and the run ends.
func TestPlansEnd(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		r, parallel, retries := record.Run{}, 1+random.IntN(4), random.IntN(3)
		if random.IntN(2) == 0 {
			r.WindowEnd, r.CancelAfterWindow = begin.Add(time.Duration(random.IntN(120))*time.Minute), random.IntN(2) == 0
		}
		vms := make([]record.RunVM, random.IntN(12))
		for i := range vms {
			vms[i] = vm(i, fmt.Sprint("vm", i), record.RunVMWaiting)
		}
		now, done := begin, false
		for steps := 0; !done; steps++ {
			if steps > 5000 {
				t.Fatalf("seed %d: the run does not end: %+v", seed, vms)
			}
			s := plan(r, vms, nil, parallel, now)
			done = s.done
			for i := range vms {
				v := &vms[i]
				if end, ends := s.end[v.VM]; ends {
					if v.State.Ended() {
						t.Fatalf("seed %d: %s ends twice", seed, v.VM)
					}
					v.State = end.State
				}
				if slices.Contains(s.start, v.VM) {
					if v.State != record.RunVMWaiting || !r.WindowEnd.IsZero() && !now.Before(r.WindowEnd) || v.NextTry.After(now) {
						t.Fatalf("seed %d: %s begins at %s: %+v", seed, v.VM, now, v)
					}
					v.State, v.Tries = record.RunVMRunning, append(v.Tries, record.Try{Began: now})
				}
				if v.State == record.RunVMRunning && (slices.Contains(s.cancel, v.VM) || random.IntN(4) == 0) {
					finish(random, v, now, retries)
				}
			}
			running := 0
			for _, v := range vms {
				if v.State == record.RunVMRunning {
					running++
				}
			}
			if running > parallel {
				t.Fatalf("seed %d: %d run, want at most %d", seed, running, parallel)
			}
			if r.Canceling = r.Canceling || random.IntN(200) == 0; done && running > 0 {
				t.Fatalf("seed %d: the run has ended, and %d run", seed, running)
			}
			now = now.Add(time.Duration(random.IntN(300)) * time.Second)
		}
		if c, state := record.CountOf(vms); c.Completed+c.Failed+c.Skipped+c.Canceled != len(vms) || state == record.RunRunning {
			t.Fatalf("seed %d: %+v of %d VMs", seed, c, len(vms))
		}
	}
}

func finish(random *rand.Rand, v *record.RunVM, now time.Time, retries int) {
	last := &v.Tries[len(v.Tries)-1]
	last.Ended = now
	switch random.IntN(4) {
	case 0:
		last.Reason = "client_gone"
	case 1:
		last.Reason, last.Free = "cooling_down", true
	default:
		v.State = record.RunVMCompleted
		return
	}
	if v.Counted() > retries || len(v.Tries) >= maxTries {
		v.State = record.RunVMFailed
		return
	}
	v.State, v.NextTry = record.RunVMWaiting, now.Add(time.Duration(random.IntN(600))*time.Second)
}

// TestBackOff: waits double up to an hour.
func TestBackOff(t *testing.T) {
	for _, tt := range []struct {
		first    time.Duration
		failures int
		want     time.Duration
	}{
		{10 * time.Minute, 1, 10 * time.Minute},
		{10 * time.Minute, 2, 20 * time.Minute},
		{10 * time.Minute, 4, time.Hour},
		{10 * time.Minute, 20, time.Hour},
		{2 * time.Hour, 1, time.Hour},
		{time.Second, 3, 4 * time.Second},
	} {
		if got := backOff(tt.first, tt.failures); got != tt.want {
			t.Errorf("%s after %d failures: %s, want %s", tt.first, tt.failures, got, tt.want)
		}
	}
}

// TestFreeBackOff: waits after tries that do not count double up to a quarter of an hour.
func TestFreeBackOff(t *testing.T) {
	for _, tt := range []struct {
		first time.Duration
		tries int
		want  time.Duration
	}{
		{10 * time.Minute, 1, time.Minute},
		{10 * time.Minute, 3, 4 * time.Minute},
		{10 * time.Minute, 40, 15 * time.Minute},
		{time.Second, 1, time.Second},
	} {
		if got := freeBackOff(tt.first, tt.tries); got != tt.want {
			t.Errorf("%s after %d tries: %s, want %s", tt.first, tt.tries, got, tt.want)
		}
	}
}

// TestDueType: a full backup by age, by the number of incrementals, and only then.
func TestDueType(t *testing.T) {
	point := func(kind record.Type, age time.Duration) record.Backup {
		return record.Backup{Type: kind, CreatedAt: begin.Add(-age)}
	}
	day := 24 * time.Hour
	chain := []record.Backup{point(record.Incremental, day), point(record.Incremental, 2*day), point(record.Full, 3*day), point(record.Incremental, 40*day), point(record.Full, 50*day)}
	for _, tt := range []struct {
		points []record.Backup
		after  int
		every  time.Duration
		want   record.Type
	}{
		{chain, 0, 0, record.Auto},
		{chain, 2, 0, record.Full},
		{chain, 3, 0, record.Auto},
		{chain, 0, 3 * day, record.Full},
		{chain, 0, 4 * day, record.Auto},
		{chain, 5, 3 * day, record.Full},
		{nil, 1, day, record.Auto}, // auto makes a full one itself
	} {
		if got := dueType(tt.points, tt.after, tt.every, begin); got != tt.want {
			t.Errorf("after %d, every %s: %s, want %s", tt.after, tt.every, got, tt.want)
		}
	}
}
