package hubtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A Process is a program that runs beside the test. What is left of it ends with the test.
type Process struct {
	*testing.T
	Cmd      *exec.Cmd
	Out, Err Output
	Done     chan struct{}
}

// Output is what a process has written so far.
type Output struct {
	Mu   sync.Mutex
	Text strings.Builder
}

func (o *Output) Write(p []byte) (int, error) {
	o.Mu.Lock()
	defer o.Mu.Unlock()
	return o.Text.Write(p)
}

func (o *Output) String() string {
	o.Mu.Lock()
	defer o.Mu.Unlock()
	return o.Text.String()
}

func Start(t *testing.T, name string, args ...string) *Process {
	t.Helper()
	return StartAs(t, nil, name, args...)
}

// StartAs starts a program as another user, or as this one.
func StartAs(t *testing.T, user *syscall.Credential, name string, args ...string) *Process {
	t.Helper()
	p := &Process{T: t, Cmd: exec.Command(name, args...), Done: make(chan struct{})}
	p.Cmd.Stdout, p.Cmd.Stderr = &p.Out, &p.Err
	if user != nil {
		p.Cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	}
	Must(t, p.Cmd.Start())
	go func() {
		defer close(p.Done)
		_ = p.Cmd.Wait() // the exit code is asked for
	}()
	t.Cleanup(func() { p.End(syscall.SIGKILL) })
	return p
}

func (p *Process) Stdout() string { return p.Out.String() }

func (p *Process) Stderr() string { return p.Err.String() }

// Exited waits a time for the end of the process and returns its exit code, -1 for a signal.
func (p *Process) Exited(wait time.Duration) (code int, exited bool) {
	timeout := time.After(wait)
	select {
	case <-p.Done:
		return p.Cmd.ProcessState.ExitCode(), true
	default:
	}
	select {
	case <-p.Done:
		return p.Cmd.ProcessState.ExitCode(), true
	case <-timeout:
		return 0, false
	}
}

func (p *Process) Signal(s syscall.Signal) {
	if err := p.Cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.Error(err)
	}
}

// End sends a signal and waits for the end of the process.
func (p *Process) End(s syscall.Signal) int {
	p.Signal(s)
	code, exited := p.Exited(Patience)
	if !exited {
		p.Errorf("%s does not end by %s", p.Cmd.Path, s)
		p.Signal(syscall.SIGKILL)
		<-p.Done
	}
	return code
}

func Run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// ChildOf is a process that another has started, 0 if there is none.
func ChildOf(pid int) (child int) {
	var text []byte
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		more, _ := os.ReadFile(list)
		text = append(text, more...)
	}
	_, _ = fmt.Sscan(string(text), &child)
	return child
}
