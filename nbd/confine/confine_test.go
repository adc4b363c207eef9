package confine

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/units/spawn"
)

// patience bounds every wait, for a machine that is very busy: what takes longer hangs.
const patience = 5 * time.Minute

// roomy limits stop nothing.
var roomy = Limits{MemoryBytes: 4 << 30, FileBytes: 1 << 20, CPU: patience}

// shell runs a confined bash script as the exporters' user, and returns its output.
func shell(t *testing.T, r Rules, script string, args ...string) (string, error) {
	t.Helper()
	r.ProgramDirs = []string{"/usr/bin", "/bin"}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.Command("/bin/bash", append([]string{"-c", script, "bash"}, args...)...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	err := Run(ctx, cmd, r)
	return output.String(), err
}

// publicDir is a directory that all users can write to, so that only the confinement prevents anything.
func publicDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "confine-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o777))
	return dir
}

func publicFile(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	must(t, f.Chmod(0o666))
	_, err = f.WriteString("content of " + filepath.Base(path))
	must(t, err)
	return f
}

func openZero(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open("/dev/zero")
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMain(m *testing.M) {
	if err := spawn.Reserve(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestSupported(t *testing.T) {
	if err := Supported(); err != nil {
		t.Fatalf("%v: these tests need a kernel with Landlock (5.13, CONFIG_SECURITY_LANDLOCK, lsm=landlock,...)", err)
	}
}

// TestEscape tries what a qemu-img under the control of a hostile image would try. "=" marks what must succeed.
func TestEscape(t *testing.T) {
	dir := publicDir(t)
	own, parent := publicFile(t, filepath.Join(dir, "own")), publicFile(t, filepath.Join(dir, "parent"))
	publicFile(t, filepath.Join(dir, "other"))
	must(t, os.Symlink("other", filepath.Join(dir, "link")))
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	must(t, err)
	defer listener.Close()
	must(t, os.Chmod(filepath.Join(dir, "socket"), 0o777))
	victim := exec.Command("/bin/sleep", "1000")
	if os.Getuid() == 0 { // another process of the same user
		victim.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	must(t, victim.Start())
	defer func() { _ = victim.Process.Kill(); _ = victim.Wait() }()

	for _, e := range []struct{ what, command string }{
		{"=read its own file", `grep -q content "$D/own"`},
		{"=write its own file", `echo content >"$D/own"`},
		{"=read its parent", `grep -q content "$D/parent"`},
		{"write its parent", `echo x >>"$D/parent"`},
		{"read the file of another", `cat "$D/other"`},
		{"read it through a link", `cat "$D/link"`},
		{"write the file of another", `echo x >>"$D/other"`},
		{"list the directory", `ls "$D"`},
		{"make a file", `echo x >"$D/new"`},
		{"make a link", `ln -s other "$D/new"`},
		{"remove its own file", `rm "$D/own"`},
		{"move its own file", `mv "$D/own" "$D/new"`},
		{"read what everybody may", `cat /etc/passwd`},
		{"read secrets of the host", `cat /etc/shadow`},
		{"look at processes", `cat "/proc/$VICTIM/environ" || ls /proc || cat /proc/self/environ`},
		{"write to temporary directories", `echo x >/tmp/escaped || echo x >/dev/shm/escaped || echo x >/var/tmp/escaped`},
		{"open a network connection", `(exec 3<>/dev/tcp/127.0.0.1/1) 2>&1 | grep -q refused`},
		{"look a name up", `getent ahosts localhost`},
		{"speak to a service of this host", `socat -u /dev/null "UNIX-CONNECT:$D/socket"`},
		{"signal a process of the same user", `kill -0 "$VICTIM"`},
		{"limit a process of the same user", `prlimit --pid "$VICTIM" --nofile=3:3`},
		{"slow down a process of the same user", `renice -n 19 -p "$VICTIM"`},
		{"make a namespace", `unshare --user true`},
		{"mount", `mount -t tmpfs none "$D"`},
		{"share memory with others", `ipcmk -M 4096`},
		{"become root", `setpriv --reuid=0 true || grep -q '^NoNewPrivs:.*0$' /proc/self/status`},
		{"raise its limits", `ulimit -c unlimited`},
	} {
		what, must := strings.CutPrefix(e.what, "=")
		script := `D=$1 VICTIM=$2; ` + e.command
		output, err := shell(t, Rules{Read: []*os.File{parent}, Write: []*os.File{own}, Limits: roomy}, script, dir, fmt.Sprint(victim.Process.Pid))
		if (err == nil) != must {
			t.Errorf("%s: %v: %s", what, err, output)
		}
		if strings.Contains(fmt.Sprint(err, output), "cannot confine") || strings.Contains(output, "prlimit: failed to execute") || strings.Contains(output, "command not found") {
			t.Errorf("%s: not tried: %s", what, output)
		}
	}
}

// TestFileThatWasReplaced: the program may open the file that was opened, and no other with the same name.
func TestFileThatWasReplaced(t *testing.T) {
	dir := publicDir(t)
	path := filepath.Join(dir, "image")
	image := publicFile(t, path)
	publicFile(t, filepath.Join(dir, "other"))
	must(t, os.Rename(path, filepath.Join(dir, "moved")))
	for name, replace := range map[string]func() error{
		"link": func() error { return os.Symlink("other", path) },
		"file": func() error { return os.Link(filepath.Join(dir, "other"), path) },
		"FIFO": func() error { return syscall.Mkfifo(path, 0o666) },
	} {
		must(t, replace())
		if output, err := shell(t, Rules{Write: []*os.File{image}, Limits: roomy}, `cat "$1"`, path); err == nil {
			t.Errorf("%s: %s", name, output)
		}
		must(t, os.Remove(path))
	}
	if output, err := shell(t, Rules{Write: []*os.File{image}, Limits: roomy}, `cat "$1"`, filepath.Join(dir, "moved")); err != nil {
		t.Errorf("under its new name: %v: %s", err, output)
	}
}

// TestLimits: a program that uses too much memory, time or disk is stopped, without harm to others.
func TestLimits(t *testing.T) {
	dir := publicDir(t)
	file, zero := publicFile(t, filepath.Join(dir, "file")), openZero(t)
	for what, test := range map[string]struct {
		limits func(*Limits)
		script string
	}{
		"memory": {func(l *Limits) { l.MemoryBytes = 256 << 20 }, `dd if=/dev/zero of=/dev/null bs=512M count=1`},
		"time":   {func(l *Limits) { l.CPU = time.Second }, `while :; do :; done`},
		"disk":   {func(l *Limits) { l.FileBytes = 1 << 16 }, `printf %1000000s x >"$1"; test "$(wc -c <"$1")" = 1000000`},
	} {
		l := roomy
		test.limits(&l)
		rules := Rules{Write: []*os.File{file}, Read: []*os.File{zero}, Limits: l}
		if output, err := shell(t, rules, test.script, file.Name()); err == nil {
			t.Errorf("%s: %s", what, output)
		}
	}
	if info, err := file.Stat(); err != nil || info.Size() > 1<<16 {
		t.Errorf("%v, %v", info.Size(), err)
	}
}

// TestLimitsAreRoomy: the scripts above fail only because of the limits.
func TestLimitsAreRoomy(t *testing.T) {
	file, zero := publicFile(t, filepath.Join(publicDir(t), "file")), openZero(t)
	rules := Rules{Write: []*os.File{file}, Read: []*os.File{zero}, Limits: roomy}
	script := `dd if=/dev/zero of=/dev/null bs=512M count=1 && printf %1000000s x >"$1"; test "$(wc -c <"$1")" = 1000000`
	if output, err := shell(t, rules, script, file.Name()); err != nil {
		t.Errorf("%v: %s", err, output)
	}
}

func TestProgramThatIsNotThere(t *testing.T) {
	for _, path := range []string{"/nonexistent/x", "no-such-program"} {
		if err := Run(t.Context(), exec.Command(path), Rules{Limits: roomy}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%v", err)
		}
	}
}

// TestProcessStaysFree: the threads that restrict themselves end, also while the garbage collector runs, and what the process could do
// before it can do after.
func TestProcessStaysFree(t *testing.T) {
	other := publicFile(t, filepath.Join(publicDir(t), "other"))
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 25 {
				if err := Run(t.Context(), exec.Command("/bin/true"), Rules{Limits: roomy}); err != nil {
					t.Error(err)
				}
				runtime.GC()
			}
		})
	}
	group.Wait()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		threads, filtered := statuses(t)
		if filtered == 0 && threads <= 30 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d threads, %d of them with a filter", threads, filtered)
		}
	}
	for range 100 { // on whichever thread
		group.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			content, err := os.ReadFile(other.Name())
			if err != nil || len(content) == 0 {
				t.Error(err)
			}
			socket, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Error(err)
				return
			}
			_ = socket.Close()
		})
	}
	group.Wait()
}

// statuses counts the threads of this process, and those of them that have a filter of system calls.
func statuses(t *testing.T) (threads, filtered int) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	must(t, err)
	for _, task := range tasks {
		status, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		threads++
		if !strings.Contains(string(status), "Seccomp:\t0") {
			filtered++
		}
	}
	return threads, filtered
}

// BenchmarkRun measures the cost of the confinement: compare it with BenchmarkBare.
func BenchmarkRun(b *testing.B) {
	for b.Loop() {
		if err := Run(b.Context(), exec.Command("/bin/true"), Rules{Limits: roomy}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBare(b *testing.B) {
	for b.Loop() {
		if err := exec.Command("/bin/true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}
