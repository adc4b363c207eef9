package spawn

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"reflect"
	"time"
)

// output is what becomes of a program's standard output and standard error.
type output struct {
	childs []*os.File // given to the program, closed when it has started
	ours   []*os.File // ends of pipes
	copies []func() error
	copied chan error // one result for each of copies that runs
}

// files returns the program's descriptors.
func (o *output) files(cmd *exec.Cmd) ([]*os.File, error) {
	stdin, err := o.open(nil)
	if err != nil {
		return nil, err
	}
	stdout, err := o.open(cmd.Stdout)
	if err != nil {
		return nil, err
	}
	stderr := stdout
	if !same(cmd.Stdout, cmd.Stderr) {
		if stderr, err = o.open(cmd.Stderr); err != nil {
			return nil, err
		}
	}
	return append([]*os.File{stdin, stdout, stderr}, cmd.ExtraFiles...), nil
}

// same reports whether one writer gets both outputs: it must not be called by two goroutines.
func same(a, b io.Writer) bool {
	return a != nil && b != nil && reflect.TypeOf(a).Comparable() && a == b
}

// open returns the descriptor that leads to a writer.
func (o *output) open(w io.Writer) (*os.File, error) {
	if f, ok := w.(*os.File); ok {
		return f, nil
	}
	if w == nil {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err == nil {
			o.childs = append(o.childs, null)
		}
		return null, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.ours, o.childs = append(o.ours, read), append(o.childs, write)
	o.copies = append(o.copies, func() error {
		_, err := io.Copy(w, read)
		_ = read.Close() // if w fails, the program gets SIGPIPE
		return err
	})
	return write, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing was written through it
	}
}

// started closes the program's descriptors here, so that a pipe ends with the program.
func (o *output) started() {
	closeFiles(o.childs)
	o.childs = nil
}

func (o *output) close() {
	closeFiles(o.childs)
	closeFiles(o.ours)
}

// wait waits for the end of the program and of its output. The end of the context kills the program; WaitDelay bounds what follows, as
// in exec.Cmd: a process of the program that has its output may outlive it.
func (o *output) wait(ctx context.Context, cmd *exec.Cmd) error {
	o.copied = make(chan error, len(o.copies))
	for _, run := range o.copies {
		go func() { o.copied <- run() }()
	}
	stopped := make(chan error, 1)
	unwatch := context.AfterFunc(ctx, func() {
		err := cmd.Process.Kill()
		if err == nil {
			err = ctx.Err()
		}
		stopped <- err
	})
	state, err := cmd.Process.Wait()
	cmd.ProcessState = state
	if err == nil && !state.Success() {
		err = &exec.ExitError{ProcessState: state}
	}
	if !unwatch() {
		if killErr := <-stopped; err == nil && !errors.Is(killErr, os.ErrProcessDone) {
			err = killErr
		}
	}
	if copyErr := o.drain(cmd.WaitDelay); err == nil {
		err = copyErr
	}
	return err
}

// drain waits until all output is copied; 0 for as long as it takes.
func (o *output) drain(delay time.Duration) (err error) {
	var expired <-chan time.Time
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		expired = timer.C
	}
	for range o.copies {
		select {
		case copyErr := <-o.copied:
			if err == nil {
				err = copyErr
			}
		case <-expired:
			closeFiles(o.ours) // which ends the copies
			expired = nil
			<-o.copied
			err = exec.ErrWaitDelay
		}
	}
	if errors.Is(err, os.ErrClosed) {
		err = exec.ErrWaitDelay
	}
	return err
}
