package systemdtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests run outside a machine: they boot machines and check what is left on the host. With
// childEnv set, the same binary is the process that is killed, or a test inside a machine.
const childEnv = "SYSTEMDTEST_CHILD"

func TestMain(m *testing.M) {
	if file := os.Getenv(childEnv); file != "" {
		if Inside() { // before the time of -test.timeout begins
			if err := sayInside(file); err != nil {
				panic(err)
			}
		}
		Main(m)
	}
	os.Exit(m.Run())
}

func boot(t testing.TB, o Options) *Machine {
	t.Helper()
	m, err := Boot(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func output(t testing.TB, m *Machine, command string) string {
	t.Helper()
	out, err := m.Command(t.Context(), "sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestMachine(t *testing.T) {
	m := boot(t, Options{})
	secret := filepath.Join(os.TempDir(), "systemdtest-host-file")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(secret)
	for _, test := range []struct{ what, command, want string }{
		{"boot is done", "systemctl is-system-running", "running"},
		{"PID 1", "cat /proc/1/comm", "systemd"},
		{"private /tmp", "test ! -e " + secret + " && echo private", "private"},
		{"private network", "grep -c : /proc/net/dev", "1"},
		{"loopback", "cat /sys/class/net/lo/flags", "0x9"},
		{"users", "id -un sendense-nbd && getent group sendense | cut -d: -f1", "sendense-nbd\nsendense"},
		{"units", "systemd-run --quiet --wait --pipe echo hello", "hello"},
		{"journal", "systemd-run --quiet --wait --unit=talker echo hello && journalctl --sync && journalctl -o cat -u talker | grep -x hello", "hello"},
		{"credentials", "echo hello >/tmp/secret && systemd-run --quiet --wait --pipe --property=LoadCredential=word:/tmp/secret sh -c 'cat $CREDENTIALS_DIRECTORY/word'", "hello"},
		{"re-execution", "systemctl daemon-reexec && systemctl is-system-running", "running"},
		{"bus restart", "systemctl restart dbus && systemctl is-system-running", "running"},
		{"working directory", "pwd", must(os.Getwd())},
		{"overlay", "echo changed >/etc/hostname && cat /etc/hostname", "changed"},
	} {
		if got := output(t, m, test.command); got != test.want {
			t.Errorf("%s: %s: got %q, want %q", test.what, test.command, got, test.want)
		}
	}
	if host := must(os.ReadFile("/etc/hostname")); string(host) == "changed\n" {
		t.Error("the machine changed the host")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestCommandStatus(t *testing.T) {
	m := boot(t, Options{})
	for command, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -TERM $$": 128 + 15} {
		got, err := exitCode(m.Command(t.Context(), "sh", "-c", command).Run())
		if err != nil || got != want {
			t.Errorf("%s: exit status %d, want %d (%v)", command, got, want, err)
		}
	}
	if got, _ := exitCode(m.Command(t.Context(), "/nonexistent").Run()); got != exitNotStarted {
		t.Errorf("no command: exit status %d", got)
	}
}

// TestStandInKilled kills the stand-in of a command at every moment of the command's start, and when the command runs: it ends with
// its stand-in, or never begins.
func TestStandInKilled(t *testing.T) {
	m := boot(t, Options{})
	running := func() string { return output(t, m, "cat /proc/[0-9]*/comm | grep -cx sleep || true") }
	began := time.Now()
	first := m.Command(t.Context(), "sh", "-c", "echo; exec sleep 98765")
	said, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := said.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	start := time.Since(began)
	_ = first.Process.Kill()
	_ = first.Wait() // killed
	const moments = 40
	for i := range moments {
		cmd := m.Command(t.Context(), "sleep", "98765")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(start * time.Duration(i) / moments)
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}
	eventually(t, "the end of all commands whose stand-ins were killed", func() bool { return running() == "0" })
}

// TestBootID: each machine is another boot, also for systemd and the journal.
func TestBootID(t *testing.T) {
	host := strings.TrimSpace(string(must(os.ReadFile("/proc/sys/kernel/random/boot_id"))))
	one, two := boot(t, Options{}), boot(t, Options{})
	const read = "cat /proc/sys/kernel/random/boot_id"
	first, second := output(t, one, read), output(t, two, read)
	if first == host || second == host || first == second || len(first) != len(host) {
		t.Errorf("host %s, machines %s and %s", host, first, second)
	}
	journal := output(t, one, "journalctl --list-boots --output=json")
	if !strings.Contains(journal, strings.ReplaceAll(first, "-", "")) {
		t.Errorf("boot %s is not in the journal: %s", first, journal)
	}
}

// Two machines can listen on the same port at the same time.
func TestMachinesAreApart(t *testing.T) {
	const listen = "--socket-property=ListenStream=127.0.0.1:10100"
	for range 2 {
		output(t, boot(t, Options{}), "systemd-run --quiet --unit=same "+listen+" true")
	}
	if c, err := net.DialTimeout("tcp", "127.0.0.1:10100", patience); err == nil {
		_ = c.Close()
		t.Error("the host reaches a port of a machine")
	}
}

func TestNothingLeft(t *testing.T) {
	for name, test := range map[string]struct {
		scenario string
		kill     syscall.Signal
	}{
		"end":     {"TestChildEnds", 0},
		"panic":   {"TestChildPanics", 0},
		"timeout": {"TestChildHangs", 0},
		"SIGKILL": {"TestChildHangs", syscall.SIGKILL},
		"SIGTERM": {"TestChildHangs", syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, err := os.CreateTemp(must(os.Getwd()), ".child-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.Remove(said.Name())
			child := exec.Command(selfExe, "-test.run=^"+test.scenario+"$", "-test.timeout=3s")
			child.Args[0] = must(os.Executable())
			child.Env = append(os.Environ(), childEnv+"="+said.Name())
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			var machine string
			eventually(t, "the test inside", func() bool {
				machine = string(must(os.ReadFile(said.Name())))
				return strings.HasPrefix(machine, namePrefix)
			})
			if test.kill != 0 {
				_ = child.Process.Signal(test.kill)
			}
			err = child.Wait()
			if (err == nil) != (name == "end") {
				t.Errorf("exit status: %v", err)
			}
			eventually(t, "everything of "+machine+" gone", func() bool { return leftovers(machine) == nil })
		})
	}
}

// leftovers returns what the host has of a machine.
func leftovers(machine string) error {
	var errs []error
	for _, base := range append(scratchBases(), must(cgroupParent())) {
		if _, err := os.Stat(filepath.Join(base, machine)); err == nil {
			errs = append(errs, fmt.Errorf("%s is left in %s", machine, base))
		}
	}
	if mounts := must(os.ReadFile("/proc/self/mountinfo")); strings.Contains(string(mounts), machine) {
		errs = append(errs, errors.New("mounts are left"))
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, p := range processes {
		if data, _ := os.ReadFile(p); strings.Contains(string(data), machine) {
			errs = append(errs, fmt.Errorf("process %s is left", p))
		}
	}
	return errors.Join(errs...)
}

func eventually(t testing.TB, what string, check func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !check(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// sayInside tells the parent test that it runs inside, and leaves something to clean up.
func sayInside(file string) error {
	m, err := readMarker("/")
	if err != nil {
		return err
	}
	if err := exec.Command("systemd-run", "--quiet", "sleep", "1000").Run(); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(m.Name), 0o600)
}

// leaveFile leaves something to clean up too, where this is the child that TestNothingLeft starts.
func leaveFile(t *testing.T) {
	t.Helper()
	if os.Getenv(childEnv) == "" {
		t.SkipNow() // not a test of its own
	}
	if err := os.WriteFile(filepath.Join(DiskDir(t), "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestChildEnds(t *testing.T)   { leaveFile(t) }
func TestChildPanics(t *testing.T) { leaveFile(t); panic("as told") }
func TestChildHangs(t *testing.T)  { leaveFile(t); select {} }

// If the supervisor itself is killed, the machine is killed too, and the next boot cleans up.
func TestSweep(t *testing.T) {
	m, err := Boot(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.supervisor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = m.Close()
	eventually(t, "the machine's end", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d/root/run", m.PID))
		return err != nil
	})
	boot(t, Options{})
	eventually(t, "everything of "+m.Name+" gone", func() bool { return leftovers(m.Name) == nil })
}

func TestDiskDir(t *testing.T) {
	if !onDisk(must(scratchBase())) {
		t.Error("scratch directories do not lie on a disk")
	}
}

func TestUnprivileged(t *testing.T) {
	child := exec.Command(selfExe, "-test.run=^TestChildEnds$")
	child.Env = append(os.Environ(), childEnv+"=x")
	child.Dir = "/"
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := child.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "needs root") || !strings.Contains(string(out), "65534") {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

func TestPaths(t *testing.T) {
	got := outermost([]string{"/a/b", "/a", "/c", "/ab", "/c"})
	if want := "[/a /c /ab]"; fmt.Sprint(got) != want {
		t.Errorf("outermost: %v, want %s", got, want)
	}
	if got := buildDir("/tmp/go-build12/b001/x.test"); got != "/tmp/go-build12" {
		t.Errorf("build dir: %s", got)
	}
	if _, err := (Options{Binds: []string{"relative"}}).bindPaths(); err == nil {
		t.Error("a relative bind was not refused")
	}
}

func BenchmarkBoot(b *testing.B) {
	for b.Loop() {
		m, err := Boot(b.Context(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
