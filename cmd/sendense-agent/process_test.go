package main_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A process is a program that runs beside the test. What is left of it ends with the test.
type process struct {
	*testing.T
	cmd      *exec.Cmd
	out, err output
	done     chan struct{}
}

// output is what a process has written so far.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	return startAs(t, nil, name, args...)
}

// startAs starts a program as another user, or as this one.
func startAs(t *testing.T, user *syscall.Credential, name string, args ...string) *process {
	t.Helper()
	p := &process{T: t, cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if user != nil {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	}
	must(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the exit code is asked for
	}()
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	return p
}

func (p *process) stdout() string { return p.out.String() }
func (p *process) stderr() string { return p.err.String() }

// exited waits a time for the end of the process and returns its exit code, -1 for a signal.
func (p *process) exited(wait time.Duration) (code int, exited bool) {
	timeout := time.After(wait)
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), true
	default:
	}
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), true
	case <-timeout:
		return 0, false
	}
}

func (p *process) signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.Error(err)
	}
}

// end sends a signal and waits for the end of the process.
func (p *process) end(s syscall.Signal) int {
	p.signal(s)
	code, exited := p.exited(patient)
	if !exited {
		p.Errorf("%s does not end by %s", p.cmd.Path, s)
		p.signal(syscall.SIGKILL)
		<-p.done
	}
	return code
}
