// Package spawn runs programs from threads that hold none of the process's descriptors.
//
// fork copies the table of descriptors, and execve closes all copies that the program does not inherit. A file system is told of each
// close, and one that hangs does not answer (FUSE: FLUSH, NFS: written data). Then the new process waits inside of execve, where no
// signal ends it, and os/exec waits with it: no context ends that. So one repository that hangs would delay each program that a daemon
// starts for another.
//
// Here each start has a thread of its own. In a process that has called Reserve it gets a table of descriptors of its own, without the
// process's files, and it ends with the start. So it can also restrict itself: the program inherits its Landlock domain and its filter
// of system calls, and the process is as free as before.
//
// It runs short tools. It supervises no service: that is the work of systemd, in package units. Pdeathsig does not work, because it
// fires when the thread ends.
package spawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
)

// A Restriction is applied to the thread that starts a program, and so to the program.
type Restriction struct {
	Files []*os.File // open files that Apply needs and the program does not inherit
	// Apply restricts the calling thread. It gets the descriptors of Files, whose numbers are those of the thread. It makes system
	// calls by package unix only: files, sockets and the poller of the Go runtime belong to the process's own table.
	Apply func(fds []int) error
}

// Run is cmd.Run with the limit of a context, which covers the start too. Cmd must be made without a context. It has no input.
func Run(ctx context.Context, cmd *exec.Cmd) error { return RunRestricted(ctx, cmd, Restriction{}) }

// Output is cmd.Output with the limit of a context, which covers the start too. A *exec.ExitError has the whole of standard error.
func Output(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := Run(ctx, cmd)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		exit.Stderr = stderr.Bytes()
	}
	return stdout.Bytes(), err
}

// RunRestricted is Run for a program that is restricted further.
func RunRestricted(ctx context.Context, cmd *exec.Cmd, r Restriction) error {
	switch attr := cmd.SysProcAttr; {
	case cmd.Err != nil:
		return cmd.Err
	case cmd.Process != nil:
		return errors.New("spawn: already started")
	case cmd.Stdin != nil:
		return errors.New("spawn: standard input is not supported")
	case attr != nil && attr.Pdeathsig != 0:
		return errors.New("spawn: Pdeathsig would kill the program when the thread ends that started it")
	case ctx.Err() != nil:
		return ctx.Err()
	}
	out := &output{}
	defer out.close()
	files, err := out.files(cmd)
	if err != nil {
		return err
	}
	process, err := start(ctx, cmd, files, r)
	out.started()
	if err != nil {
		return err
	}
	cmd.Process = process
	return out.wait(ctx, cmd)
}

// start starts the program with files as its descriptors, on a thread of its own.
func start(ctx context.Context, cmd *exec.Cmd, files []*os.File, r Restriction) (*os.Process, error) {
	// Copies, because the caller may close its files before a thread that hangs has fetched them.
	held, err := duplicate(slices.Concat(files, r.Files))
	if err != nil {
		return nil, err
	}
	attr := &syscall.ProcAttr{Dir: cmd.Dir, Env: cmd.Environ(), Sys: cmd.SysProcAttr}
	if attr.Sys != nil { // ForkExec writes to it
		sys := *attr.Sys
		attr.Sys = &sys
	}
	var pid int
	done := make(chan error, 1)
	onThread(func() error {
		fds, err := isolate(held)
		if err == nil && r.Apply != nil {
			err = r.Apply(fds[len(files):])
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, fd := range fds[:len(files)] {
			attr.Files = append(attr.Files, uintptr(fd))
		}
		pid, err = syscall.ForkExec(cmd.Path, cmd.Args, attr)
		if err != nil {
			return &os.PathError{Op: "fork/exec", Path: cmd.Path, Err: err}
		}
		return nil
	}, done)
	select {
	case err = <-done:
		closeAll(held)
	case <-ctx.Done():
		go func() { // it starts late, or never
			defer closeAll(held)
			if <-done != nil {
				return
			}
			if late, err := os.FindProcess(pid); err == nil {
				_ = late.Kill()
				_, _ = late.Wait()
			}
		}()
		return nil, fmt.Errorf("%s has not started: %w", cmd.Path, ctx.Err())
	}
	if err != nil {
		return nil, err
	}
	return os.FindProcess(pid) // it is ours to wait for, so the number belongs to no other process
}
