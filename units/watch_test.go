package units

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sendense/backup-agent/units/pair"
	"github.com/sendense/backup-agent/units/systemdtest"
)

func next(t testing.TB, events <-chan Event) Event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the watch ended")
		}
		return e
	case <-time.After(patience):
		t.Fatalf("no event within %s", patience)
	}
	return Event{}
}

func nextOf(t testing.TB, events <-chan Event, kind EventKind) Event {
	t.Helper()
	for {
		if e := next(t, events); e.Kind == kind {
			return e
		}
	}
}

func TestWatch(t *testing.T) {
	m := open(t)
	events := m.Watch(within(t), "test-TestWatch-")
	if e := next(t, events); e.Kind != EventResync {
		t.Errorf("first event %+v", e)
	}
	other := shell(t, m, "sleep 0.1")
	other.Name = "x" + other.Name
	t.Cleanup(func() { _ = m.Remove(context.Background(), other.Name) })
	mustStart(t, m, other)

	s := shell(t, m, "exec sleep 1000")
	u := mustStart(t, m, s)
	if err := syscall.Kill(u.MainPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if e := next(t, events); e.Kind != EventStarted || e.Name != s.Name {
		t.Errorf("event %+v", e)
	}
	e := nextOf(t, events, EventEnded)
	t.Logf("told after %v", time.Since(begin))
	if e.Kind != EventEnded || e.Name != s.Name || e.Unit.Result != "signal" || e.Unit.ExecMainStatus != 9 || e.Unit.InvocationID != u.InvocationID {
		t.Errorf("event %+v", e)
	}
	if err := m.Remove(within(t), s.Name); err != nil {
		t.Fatal(err)
	}
	if e := next(t, events); e.Kind != EventRemoved || e.Name != s.Name {
		t.Errorf("event %+v", e)
	}
	again := mustStart(t, m, s)
	for e := nextOf(t, events, EventStarted); e.Unit.InvocationID != again.InvocationID; {
		e = nextOf(t, events, EventStarted) // the first may come before systemd has set the InvocationID
	}
	if err := m.Remove(within(t), s.Name); err != nil {
		t.Fatal(err)
	}
	nextOf(t, events, EventRemoved)
	select {
	case e := <-events:
		t.Errorf("one event too many: %+v", e)
	case <-time.After(100 * time.Millisecond):
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	m, err := Open(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = m.Watch(within(t), "test-")
	if _, err := m.List(within(t), "test-"); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before)
}

func TestWatchEnds(t *testing.T) {
	m := open(t)
	ctx, cancel := context.WithCancel(within(t))
	events := m.Watch(ctx, "test-")
	cancel()
	for range events {
	}
	events = m.Watch(within(t), "test-")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for range events {
	}
	for range m.Watch(within(t), "test-") {
	}
	if _, err := m.List(within(t), "test-"); err == nil {
		t.Error("a closed manager lists")
	}
}

// A consumer that does not read loses events, and gets an EventResync.
func TestWatchOverflow(t *testing.T) {
	w := &watcher{wake: make(chan struct{}, 1), started: map[string]string{}, ended: map[string]string{}, removed: map[string]bool{}}
	for i := range 3 * watchQueue {
		w.push(Event{Kind: EventEnded, Name: fmt.Sprint(i), Unit: Unit{InvocationID: "x"}})
	}
	if len(w.queue) > watchQueue || w.queue[0].Kind != EventResync {
		t.Errorf("%d events, the first %+v", len(w.queue), w.queue[0])
	}
}

// The watch survives a restart of the bus and a re-execution of the service manager.
func TestReconnect(t *testing.T) {
	for name, disturb := range map[string]func(){
		"bus killed": func() {
			run(t, "systemctl", "kill", "--signal=SIGKILL", "dbus.service")
		},
		"bus restarted": func() { run(t, "systemctl", "restart", "dbus.service") },
		"re-execution":  func() { run(t, "systemctl", "daemon-reexec") },
		"reload":        func() { run(t, "systemctl", "daemon-reload") },
	} {
		t.Run(name, func(t *testing.T) {
			m := open(t)
			s := shell(t, m, "exec sleep 1000")
			events := m.Watch(within(t), s.Name)
			next(t, events)
			u := mustStart(t, m, s)
			disturb()
			nextOf(t, events, EventResync)
			if got, err := m.Get(within(t), s.Name); err != nil || got.InvocationID != u.InvocationID || !got.Running() {
				t.Errorf("read %+v, %v", got, err)
			}
			if err := syscall.Kill(u.MainPID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if e := nextOf(t, events, EventEnded); e.Unit.Result != "signal" {
				t.Errorf("event %+v", e)
			}
		})
	}
}

// Every call ends with its context, also while the bus does not answer, and beside a call that waits longer.
func TestBusThatHangs(t *testing.T) {
	m := open(t)
	s := shell(t, m, "exec sleep 1000")
	bus, err := strconv.Atoi(strings.TrimSpace(run(t, "systemctl", "show", "--property=MainPID", "--value", "dbus.service")))
	if err != nil {
		t.Fatal(err)
	}
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(bus, s); err != nil {
			t.Fatal(err)
		}
	}
	systemdtest.StopProcess(t, bus)
	defer signal(syscall.SIGCONT)
	started := make(chan error, 1)
	go func() {
		_, err := m.Start(within(t), s)
		started <- err
	}()
	time.Sleep(50 * time.Millisecond) // its call is in progress
	calls := map[string]func(ctx context.Context) error{
		"open": func(ctx context.Context) error {
			other, err := Open(ctx, Options{})
			if err == nil {
				_ = other.Close()
			}
			return err
		},
		"version": func(ctx context.Context) error { _, err := m.Version(ctx); return err },
		"state":   func(ctx context.Context) error { _, err := m.State(ctx, "dbus.service"); return err },
		"list":    func(ctx context.Context) error { _, err := m.List(ctx, "test-"); return err },
		"get":     func(ctx context.Context) error { _, err := m.Get(ctx, "test-x"); return err },
		"remove":  func(ctx context.Context) error { return m.Remove(ctx, "test-x") },
	}
	for name, call := range calls {
		ended := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			ended <- call(ctx)
		}()
		select {
		case err := <-ended:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: error %v, want %v", name, err, context.DeadlineExceeded)
			}
		case <-time.After(patience):
			t.Fatalf("%s does not end with its context", name)
		}
	}
	signal(syscall.SIGCONT)
	if err := <-started; err != nil {
		t.Errorf("start: %v", err)
	}
}

// Starts in progress when the bus is killed either succeed or leave nothing.
func TestStartWhileBusDies(t *testing.T) {
	m := open(t)
	const n = 12
	specs := make([]pair.Spec, n)
	errs := make([]error, n)
	done := make(chan int)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range specs {
		specs[i] = shell(t, m, "sleep 1000")
		specs[i].ListenAddress = fmt.Sprintf("127.0.0.1:%d", 10100+i)
		go func() {
			time.Sleep(time.Duration(i) * 4 * time.Millisecond)
			_, errs[i] = m.Start(ctx, specs[i])
			done <- i
		}()
	}
	time.Sleep(25 * time.Millisecond)
	run(t, "systemctl", "kill", "--signal=SIGKILL", "dbus.service")
	for range specs {
		<-done
	}
	for i, s := range specs {
		u, err := m.Get(ctx, s.Name)
		switch {
		case errs[i] == nil && (err != nil || !u.Running()):
			t.Errorf("%s: started, and now %+v, %v", s.Name, u, err)
		case errs[i] != nil:
			if !errors.Is(errs[i], ErrDisconnected) {
				t.Errorf("%s: %v; want %v", s.Name, errs[i], ErrDisconnected)
			}
			assertGone(t, m, s.Name)
		}
	}
}
