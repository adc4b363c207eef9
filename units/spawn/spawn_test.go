package spawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait, for a machine that is very busy: what takes longer hangs.
const patience = 5 * time.Minute

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sh(script string) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }

func TestSupported(t *testing.T) { must(t, Supported()) }

func TestOutput(t *testing.T) {
	cmd := sh(`echo "$PWD $X $(id -u)"; echo problem >&2; exit 3`)
	cmd.Dir, cmd.Env = "/usr", []string{"X=value"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := Output(t.Context(), cmd)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || string(exit.Stderr) != "problem\n" || string(out) != "/usr value 65534\n" {
		t.Errorf("%q, %v", out, err)
	}
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("%v", cmd.ProcessState)
	}
}

// TestDescriptors: the program has those that it is given, and nothing of the process.
func TestDescriptors(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	must(t, err)
	defer file.Close()
	cmd := sh(`ls /proc/$$/fd; echo content >&4`)
	cmd.ExtraFiles = []*os.File{os.Stderr, file}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out // one pipe
	must(t, Run(t.Context(), cmd))
	if out.String() != "0\n1\n2\n3\n4\n" {
		t.Errorf("%q", out.String())
	}
	if content, err := os.ReadFile(file.Name()); err != nil || string(content) != "content\n" {
		t.Errorf("%q, %v", content, err)
	}
}

func TestRefused(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	input, dying := sh("true"), sh("true")
	input.Stdin = strings.NewReader("")
	dying.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, c := range []struct {
		ctx  context.Context
		cmd  *exec.Cmd
		want error
	}{
		{t.Context(), exec.Command("no-such-program"), exec.ErrNotFound},
		{t.Context(), exec.Command("/no/such/program"), syscall.ENOENT},
		{t.Context(), exec.Command("/etc/passwd"), syscall.EACCES},
		{canceled, sh("true"), context.Canceled},
		{t.Context(), input, nil},
		{t.Context(), dying, nil},
	} {
		if err := Run(c.ctx, c.cmd); err == nil || c.want != nil && !errors.Is(err, c.want) || c.cmd.Process != nil {
			t.Errorf("%v: %v", c.cmd, err)
		}
	}
	refusal := errors.New("refusal")
	if err := RunRestricted(t.Context(), sh("true"), Restriction{Apply: func([]int) error { return refusal }}); !errors.Is(err, refusal) {
		t.Error(err)
	}
}

// TestStop: the end of the context kills the program, and WaitDelay ends the wait for a process that has its output.
func TestStop(t *testing.T) {
	read, write, err := os.Pipe()
	must(t, err)
	defer read.Close()
	cmd := sh(`sleep 1000 & echo $! >&3; wait`)
	cmd.Stdout, cmd.ExtraFiles, cmd.WaitDelay = io.Discard, []*os.File{write}, 10*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		var pid int
		if _, err := fmt.Fscan(read, &pid); err != nil {
			t.Error(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		time.Sleep(50 * time.Millisecond) // so that Run most often knows that the program has started
		cancel()
	}()
	err = Run(ctx, cmd)
	must(t, write.Close())
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if !killed && !errors.Is(err, context.Canceled) { // canceled: the end of the context came before Run knew of the start
		t.Error(err)
	}
	cmd = sh(`sleep 1000 & echo $!`)
	var out bytes.Buffer
	cmd.Stdout, cmd.WaitDelay = &out, 10*time.Millisecond
	if err := Run(t.Context(), cmd); !errors.Is(err, exec.ErrWaitDelay) && out.Len() > 0 {
		t.Error(err)
	}
	var pid int
	if _, err := fmt.Sscan(out.String(), &pid); err == nil {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
}

// TestThreads: the threads that start programs end, and the process keeps its descriptors and its rights.
func TestThreads(t *testing.T) {
	restrict := Restriction{Apply: func([]int) error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }}
	must(t, RunRestricted(t.Context(), sh("true"), restrict))
	before := threads(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 50 {
				if err := RunRestricted(t.Context(), sh("grep -q 'NoNewPrivs:.*1' /proc/self/status"), restrict); err != nil {
					t.Error(err)
				}
				runtime.GC()
			}
		})
	}
	group.Wait()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		now, restricted := threads(t), 0
		for _, status := range now {
			if strings.Contains(status, "NoNewPrivs:\t1") {
				restricted++
			}
		}
		if restricted == 0 && len(now) <= len(before)+10 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d threads, before %d; %d are restricted", len(now), len(before), restricted)
		}
	}
}

// threads returns /proc/self/task/*/status.
func threads(t *testing.T) (statuses []string) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	must(t, err)
	for _, task := range tasks {
		if status, err := os.ReadFile(task); err == nil { // the thread may have ended
			statuses = append(statuses, string(status))
		}
	}
	return statuses
}

// TestReserve: it leaves no free descriptor below 64, twice too.
func TestReserve(t *testing.T) {
	must(t, Reserve())
	must(t, Reserve())
	file, err := os.Open("/")
	must(t, err)
	defer file.Close()
	if file.Fd() < low {
		t.Error(file.Fd())
	}
}

func BenchmarkRun(b *testing.B) {
	for b.Loop() {
		if err := Run(b.Context(), exec.Command("/bin/true")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExec(b *testing.B) {
	for b.Loop() {
		if err := exec.Command("/bin/true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}
