package units

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/units/pair"
	"github.com/sendense/backup-agent/units/systemdtest"
)

func TestStartServes(t *testing.T) {
	m := open(t)
	image := newImage(t, "64M")
	s := qemuNBD(t, m, image)
	started := mustStart(t, m, s)
	u, err := m.Get(t.Context(), s.Name)
	if err != nil || started.Name != s.Name || started.InvocationID != u.InvocationID || started.MainPID != u.MainPID {
		t.Errorf("started %+v, read %+v, %v", started, u, err)
	}
	if !u.Running() || u.ActiveState != "active" || u.SocketState != "active" || u.InvocationID == "" {
		t.Errorf("started, but %+v", u)
	}
	if u.Slice != testSlice || u.ListenAddress != s.ListenAddress || !u.Accounted || u.StartedAt.IsZero() {
		t.Errorf("read %+v", u)
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", u.MainPID))
	if err != nil || filepath.Base(exe) != "qemu-nbd" {
		t.Errorf("main process %d is %s, %v", u.MainPID, exe, err)
	}
	run(t, "qemu-io", "-f", "raw", "-c", "write -P 7 0 8M", "nbd://"+s.ListenAddress+"/disk0")

	u, err = m.Terminate(t.Context(), s.Name)
	if err != nil || !u.Clean() || u.Running() {
		t.Errorf("terminated: %+v, %v", u, err)
	}
	if u.ReceivedBytes < 8<<20 || u.SentBytes == 0 {
		t.Errorf("8 MiB were written, and %d bytes received, %d sent", u.ReceivedBytes, u.SentBytes)
	}
	run(t, "qemu-io", "-f", "qcow2", "-r", "-c", "read -P 7 0 8M", image)
}

func TestSandboxScore(t *testing.T) {
	m := open(t)
	s := qemuNBD(t, m, newImage(t, "1M"))
	mustStart(t, m, s)
	out := run(t, "systemd-analyze", "security", "--no-pager", s.Name+pair.ServiceSuffix)
	_, text, _ := strings.Cut(out, "Overall exposure level for "+s.Name+pair.ServiceSuffix+": ")
	score, err := strconv.ParseFloat(strings.Fields(text + " ?")[0], 64)
	if err != nil || score > 0.3 {
		t.Errorf("exposure %v, want 0.3 or less:\n%s", score, out)
	}
}

// Of the repository the command sees only its own directory, and those of its parents read-only.
func TestDirectories(t *testing.T) {
	m := open(t)
	repository := systemdtest.DiskDir(t)
	for _, dir := range []string{"own $HOME %n", "parent", "other"} {
		run(t, "install", "-d", "-o", "sendense-nbd", filepath.Join(repository, dir))
	}
	own, parent := filepath.Join(repository, "own $HOME %n"), filepath.Join(repository, "parent")
	s := shell(t, m, fmt.Sprintf(`cd %q; ls %q >list; touch %q/new 2>errors; printf '%%s ' "$0" >name; sleep 1000`,
		own, repository, parent))
	s.Argv[2] = strings.ReplaceAll(s.Argv[2], "$HOME", `\$HOME`)
	s.Argv = append(s.Argv, "$HOME %n")
	s.User, s.Group = "sendense-nbd", "sendense-nbd"
	s.HiddenDirs, s.WritableDirs, s.ReadOnlyDirs = []string{repository}, []string{own}, []string{parent}
	mustStart(t, m, s)
	eventually(t, "the script's output", func() bool {
		name, _ := os.ReadFile(filepath.Join(own, "name"))
		return len(name) > 0
	})
	for file, want := range map[string]string{
		"list": "own $HOME %n\nparent\n", "errors": "Read-only file system", "name": "$HOME %n ",
	} {
		if got, err := os.ReadFile(filepath.Join(own, file)); err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s holds %q, want %q (%v)", file, got, want, err)
		}
	}
}

func TestStartFailures(t *testing.T) {
	m := open(t)
	garbage := filepath.Join(systemdtest.DiskDir(t), "garbage.qcow2")
	if err := os.WriteFile(garbage, []byte("not an image"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*pair.Spec)
		check  func(*StartError) bool
	}{
		{
			"missing binary", func(s *pair.Spec) { s.Argv = []string{"/nonexistent/qemu-nbd"} },
			func(e *StartError) bool {
				return e.JobResult == "failed" && e.ExitStatus == 203 && strings.Contains(e.Error(), "/nonexistent/qemu-nbd cannot be executed")
			},
		},
		{
			"bad image", func(s *pair.Spec) {
				s.Argv = []string{"/usr/bin/qemu-nbd", "--fork", "-t", "-f", "qcow2", garbage}
				s.WritableDirs = []string{filepath.Dir(garbage)}
			},
			func(e *StartError) bool {
				return e.Result == "exit-code" && slices.ContainsFunc(e.Journal, func(l string) bool { return strings.Contains(l, "qcow2 format") }) &&
					strings.Contains(e.Error(), "qcow2 format")
			},
		},
		{
			"exit status", func(s *pair.Spec) { s.Argv = []string{"/bin/sh", "-c", "echo it broke >&2; exit 5"} },
			func(e *StartError) bool {
				return e.ExitStatus == 5 && slices.Contains(e.Journal, "it broke")
			},
		},
		{
			"killed", func(s *pair.Spec) { s.Argv = []string{"/bin/sh", "-c", "kill -9 $$"} },
			func(e *StartError) bool { return e.Result == "signal" },
		},
		{
			"missing user", func(s *pair.Spec) { s.User = "nobody-of-this-name" },
			func(e *StartError) bool { return e.ExitStatus == 217 },
		},
		{
			"missing directory", func(s *pair.Spec) { s.WritableDirs = []string{"/nonexistent"} },
			func(e *StartError) bool { return e.ExitStatus == 226 },
		},
		{"too slow", func(s *pair.Spec) {
			s.Argv = []string{"/bin/sh", "-c", "trap '' TERM; sleep 1000"}
			s.StartTimeout = 200 * time.Millisecond
		}, func(e *StartError) bool { return e.Result == "timeout" }},
		{
			"foreign address", func(s *pair.Spec) { s.ListenAddress = "192.0.2.1:10100" },
			func(e *StartError) bool {
				return e.JobResult == "dependency" && e.Result == "resources" && !errors.Is(e, ErrAddressInUse)
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := shell(t, m, "sleep 1000")
			test.change(&s)
			_, err := m.Start(t.Context(), s)
			var e *StartError
			if !errors.As(err, &e) || !test.check(e) || e.Cleanup != nil {
				t.Errorf("error %v: %+v", err, e)
			}
			assertGone(t, m, s.Name)
		})
	}
}

// assertGone asks systemd itself, not the Manager.
func assertGone(t testing.TB, m *Manager, name string) {
	t.Helper()
	if out := run(t, "systemctl", "list-units", "--all", "--no-legend", name+".*"); strings.TrimSpace(out) != "" {
		t.Errorf("still loaded: %s", out)
	}
	if _, err := m.Get(t.Context(), name); !errors.Is(err, ErrNotFound) {
		t.Errorf("get: %v, want %v", err, ErrNotFound)
	}
}

func TestStartAddressInUse(t *testing.T) {
	m := open(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	s := shell(t, m, "sleep 1000")
	s.ListenAddress = busy.Addr().String()
	_, err = m.Start(t.Context(), s)
	if !errors.Is(err, ErrAddressInUse) || !strings.Contains(err.Error(), s.ListenAddress) {
		t.Errorf("error %v, want %v of %s", err, ErrAddressInUse, s.ListenAddress)
	}
	assertGone(t, m, s.Name)
}

func TestStartExists(t *testing.T) {
	m := open(t)
	s := shell(t, m, "sleep 1000")
	first := mustStart(t, m, s)
	s.ListenAddress = freeAddress(t)
	if _, err := m.Start(t.Context(), s); !errors.Is(err, ErrExists) {
		t.Errorf("error %v, want %v", err, ErrExists)
	}
	u, err := m.Get(t.Context(), s.Name)
	if err != nil || u.InvocationID != first.InvocationID || !u.Running() {
		t.Errorf("the first was not left alone: %+v, %v", u, err)
	}
}

func TestStartCancelled(t *testing.T) {
	m := open(t)
	for _, after := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond, 300 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			s := shell(t, m, "")
			s.Argv = []string{"/bin/sh", "-c", "trap '' TERM; sleep 1000"}
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			if _, err := m.Start(ctx, s); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want %v", err, context.DeadlineExceeded)
			}
			assertGone(t, m, s.Name)
		})
	}
}

func TestStartMany(t *testing.T) {
	m := open(t)
	const n = 40 // more than the limit of starts in progress
	specs := make([]pair.Spec, n)
	errs := make(chan error, n)
	for i := range specs {
		specs[i] = shell(t, m, "sleep 1000")
		specs[i].ListenAddress = fmt.Sprintf("127.0.0.1:%d", 10100+i)
		go func() {
			_, err := m.Start(t.Context(), specs[i])
			errs <- err
		}()
	}
	for range specs {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	list, err := m.List(t.Context(), "test-TestStartMany-")
	if err != nil || len(list) != n {
		t.Errorf("listed %d of %d, %v", len(list), n, err)
	}
	for _, s := range specs {
		go func() { errs <- m.Remove(t.Context(), s.Name) }()
	}
	for range specs {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// ListBrief returns the same pairs as List, with fewer fields.
func TestListBrief(t *testing.T) {
	m := open(t)
	runs, ended, failed := shell(t, m, "exec sleep 1000"), shell(t, m, "exit 0"), shell(t, m, "exit 3")
	for _, s := range []pair.Spec{runs, ended, failed} {
		mustStart(t, m, s)
	}
	for _, s := range []pair.Spec{ended, failed} {
		mustAwait(t, m, s.Name, "ended", Unit.Ended)
	}
	whole, err := m.List(t.Context(), "test-TestListBrief-")
	if err != nil || len(whole) != 3 {
		t.Fatalf("%d listed, %v", len(whole), err)
	}
	brief, err := m.ListBrief(t.Context(), "test-TestListBrief-")
	if err != nil || len(brief) != 3 {
		t.Fatalf("%d listed, %v", len(brief), err)
	}
	for i, u := range whole {
		want := u
		if u.Running() {
			want = Unit{
				Name: u.Name, ActiveState: u.ActiveState, SubState: u.SubState, SocketState: u.SocketState,
				InvocationID: u.InvocationID, MainPID: u.MainPID, Slice: u.Slice,
			}
		}
		if diff := cmp.Diff(want, brief[i]); diff != "" {
			t.Error(diff)
		}
	}
}

func TestLongestName(t *testing.T) {
	m := open(t)
	s := shell(t, m, "sleep 1000")
	s.Name = newName(t, m)
	s.Name += strings.Repeat("x", pair.MaxNameLen-len(s.Name))
	mustStart(t, m, s)
	if err := m.Remove(t.Context(), s.Name); err != nil {
		t.Error(err)
	}
}
