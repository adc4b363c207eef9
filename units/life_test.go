package units

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/units/pair"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// The result of a service can be read later, also if no Manager was connected when it ended.
func TestResultStays(t *testing.T) {
	for _, test := range []struct {
		name, script string
		signal       syscall.Signal
		want         Unit
		clean        bool
	}{
		{"exits 0", exits(0), syscall.SIGUSR1, Unit{ActiveState: "active", SubState: "exited", Result: "success", ExecMainCode: 1}, true},
		{"exits 3", exits(3), syscall.SIGUSR1, Unit{ActiveState: "failed", SubState: "failed", Result: "exit-code", ExecMainCode: 1, ExecMainStatus: 3}, false},
		{"handles SIGTERM", sleeper, syscall.SIGTERM, Unit{ActiveState: "active", SubState: "exited", Result: "success", ExecMainCode: 1}, true},
		// systemd calls it success, but it is not: the process has written nothing back.
		{"dies of SIGTERM", "exec sleep 1000", syscall.SIGTERM, Unit{ActiveState: "active", SubState: "exited", Result: "success", ExecMainCode: 2, ExecMainStatus: 15}, false},
		{"dies of SIGKILL", "exec sleep 1000", syscall.SIGKILL, Unit{ActiveState: "failed", SubState: "failed", Result: "signal", ExecMainCode: 2, ExecMainStatus: 9}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := open(t)
			s := shell(t, m, test.script)
			first, err := Open(t.Context(), Options{Slice: testSlice})
			if err != nil {
				t.Fatal(err)
			}
			started := mustStart(t, first, s)
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(test.script, "trap") {
				awaitTrap(t, started.MainPID, test.signal)
			}
			if err := syscall.Kill(started.MainPID, test.signal); err != nil {
				t.Fatal(err)
			}
			eventually(t, "its end", func() bool { return !alive(started.MainPID) })
			run(t, "systemctl", "daemon-reload")

			u := mustAwait(t, m, s.Name, "ended", Unit.Ended)
			got := Unit{ActiveState: u.ActiveState, SubState: u.SubState, Result: u.Result, ExecMainCode: u.ExecMainCode, ExecMainStatus: u.ExecMainStatus}
			if !reflect.DeepEqual(got, test.want) || u.Clean() != test.clean || u.InvocationID != started.InvocationID || u.ExitedAt.IsZero() {
				t.Errorf("read %+v, want %+v, clean %v", u, test.want, test.clean)
			}
		})
	}
}

// However the service ended, no client starts it again: neither one that already waits nor a new one,
// also not after the service manager has reset its count of starts (daemon-reload, daemon-reexec).
func TestNoSecondLife(t *testing.T) {
	for _, end := range []struct {
		name, script string
		signal       syscall.Signal
	}{
		{"SIGKILL", "exec sleep 1000", syscall.SIGKILL},
		{"SIGTERM", "exec sleep 1000", syscall.SIGTERM},
		{"exit 0", exits(0), syscall.SIGUSR1},
		{"exit 3", exits(3), syscall.SIGUSR1},
	} {
		for _, before := range []string{"", "daemon-reload", "daemon-reexec"} {
			t.Run(end.name+" "+before, func(t *testing.T) {
				m := open(t)
				s := shell(t, m, end.script)
				started := mustStart(t, m, s)
				if before != "" {
					run(t, "systemctl", before)
				}
				waiting := connect(t, s.ListenAddress)
				defer waiting.Close()
				if end.signal == syscall.SIGUSR1 {
					awaitTrap(t, started.MainPID, end.signal)
				}
				if err := syscall.Kill(started.MainPID, end.signal); err != nil {
					t.Fatal(err)
				}
				ended := mustAwait(t, m, s.Name, "ended", Unit.Ended)
				for range 3 {
					if c, err := net.DialTimeout("tcp", s.ListenAddress, time.Second); err == nil {
						_, _ = c.Write([]byte("hello"))
						defer c.Close()
					}
					time.Sleep(20 * time.Millisecond)
				}
				u, err := m.Get(t.Context(), s.Name)
				if err != nil || u.Running() || u.InvocationID != started.InvocationID || u.Result != ended.Result {
					t.Errorf("after its end %+v, and now %+v, %v", ended, u, err)
				}
			})
		}
	}
}

func connect(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// No client starts it again while it is being stopped either.
func TestNoSecondLifeWhileStopping(t *testing.T) {
	m := open(t)
	s := shell(t, m, `trap "sleep 0.3; exit 0" TERM; while :; do sleep 0.05; done`)
	started := mustStart(t, m, s)
	awaitTrap(t, started.MainPID, syscall.SIGTERM)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if c, err := net.DialTimeout("tcp", s.ListenAddress, time.Second); err == nil {
				_ = c.Close()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if err := m.Remove(t.Context(), s.Name); err != nil {
		t.Error(err)
	}
	close(stop)
	<-done
	if alive(started.MainPID) {
		t.Error("it still runs")
	}
	assertGone(t, m, s.Name)
	out := run(t, "journalctl", "--sync") + run(t, "journalctl", "-o", "cat", "UNIT="+s.Name+pair.ServiceSuffix)
	if n := strings.Count(out, "Starting "); n != 1 {
		t.Errorf("started %d times:\n%s", n, out)
	}
}

func TestTerminateWaits(t *testing.T) {
	m := open(t)
	dir := systemdtest.DiskDir(t)
	ready, leave := filepath.Join(dir, "ready"), filepath.Join(dir, "leave")
	s := shell(t, m, `trap "until [ -e `+leave+` ]; do sleep 0.05; done; exit 0" TERM; : >`+ready+`; while :; do sleep 0.05; done`)
	s.WritableDirs = []string{dir}
	mustStart(t, m, s)
	eventually(t, "the process waits for its end", func() bool {
		_, err := os.Stat(ready)
		return err == nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := m.Terminate(ctx, s.Name); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("terminated before its end: %v", err)
	}
	if u, err := m.Get(t.Context(), s.Name); err != nil || !u.Running() {
		t.Errorf("%+v, %v", u, err)
	}
	if err := os.WriteFile(leave, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again, and after the end
		if u, err := m.Terminate(t.Context(), s.Name); err != nil || !u.Clean() {
			t.Errorf("terminated: %+v, %v", u, err)
		}
	}
}

func TestTerminateNotFound(t *testing.T) {
	m := open(t)
	if _, err := m.Terminate(t.Context(), "test-nothing"); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want %v", err, ErrNotFound)
	}
}

// A process that ignores SIGTERM is killed after the stop timeout, and the result shows it.
func TestStopTimeout(t *testing.T) {
	m := open(t)
	s := shell(t, m, `trap "" TERM; while :; do sleep 0.05; done`)
	s.StopTimeout = 300 * time.Millisecond
	awaitTrap(t, mustStart(t, m, s).MainPID, syscall.SIGTERM)
	run(t, "systemctl", "stop", s.Name+pair.SocketSuffix)
	u, err := m.Get(t.Context(), s.Name)
	if err != nil || u.Result != "timeout" || u.ExecMainCode != 2 || u.ExecMainStatus != 9 || u.Clean() {
		t.Errorf("killed by the stop: %+v, %v", u, err)
	}
	if err := m.Remove(t.Context(), s.Name); err != nil {
		t.Error(err)
	}
	assertGone(t, m, s.Name)
}

func TestRemoveTwice(t *testing.T) {
	m := open(t)
	s := shell(t, m, "sleep 1000")
	mustStart(t, m, s)
	for range 3 {
		if err := m.Remove(t.Context(), s.Name); err != nil {
			t.Error(err)
		}
		assertGone(t, m, s.Name)
	}
}

// A socket or a service that lost its other half is listed and removed too.
func TestHalves(t *testing.T) {
	m := open(t)
	name := newName(t, m)
	run(t, "systemd-run", "--quiet", "--unit="+name, "--slice="+testSlice,
		"--socket-property=ListenStream="+freeAddress(t), "/bin/true")
	lone := newName(t, m)
	run(t, "systemd-run", "--quiet", "--unit="+lone+pair.ServiceSuffix, "sleep", "1000")
	list, err := m.List(t.Context(), "test-TestHalves-")
	if err != nil || len(list) != 2 {
		t.Fatalf("listed %+v, %v", list, err)
	}
	for _, name := range []string{name, lone} {
		if err := m.Remove(t.Context(), name); err != nil {
			t.Error(err)
		}
		assertGone(t, m, name)
	}
}

// qemu-nbd loses a SIGTERM that arrives right after it began to serve, in about one of a hundred cases.
func TestTerminateAtOnce(t *testing.T) {
	m := open(t)
	s := qemuNBD(t, m, newImage(t, "1M"))
	for range 30 {
		mustStart(t, m, s)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if u, err := m.Terminate(ctx, s.Name); err != nil || !u.Clean() {
			t.Errorf("terminated: %+v, %v", u, err)
		}
		if err := m.Remove(ctx, s.Name); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

// Any number of calls at the same time: the bus daemon refuses calls beyond its limit of pending replies.
func TestManyReadsAtOnce(t *testing.T) {
	m := open(t)
	s := shell(t, m, "exec sleep 1000")
	mustStart(t, m, s)
	var group errgroup.Group
	for i := range 400 {
		group.Go(func() error {
			if i%2 == 0 {
				_, err := m.List(t.Context(), s.Name)
				return err
			}
			_, err := m.Get(t.Context(), s.Name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
