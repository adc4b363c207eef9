package setup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func isTerminal(f *os.File) bool {
	if f == nil {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// A terminal asks questions. A wait for an answer ends with the context.
type terminal struct {
	ctx  context.Context
	file *os.File
	in   *bufio.Reader
	out  io.Writer
	stop func() bool
}

// openTerminal opens the terminal again: only a file that the runtime polls can be given up while it is read.
func openTerminal(ctx context.Context, in *os.File, out io.Writer) (*terminal, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", in.Fd()), os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	t := &terminal{ctx: ctx, file: f, in: bufio.NewReader(f), out: out}
	t.stop = context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	return t, nil
}

func (t *terminal) close() {
	t.stop()
	_ = t.file.Close()
}

// ask returns the answer, or the default for an empty one.
func (t *terminal) ask(text, otherwise string) (string, error) {
	if otherwise != "" {
		text += " [" + otherwise + "]"
	}
	line, err := t.line(text)
	if line = strings.TrimSpace(line); line == "" {
		line = otherwise
	}
	return line, err
}

// line returns one line as it was typed.
func (t *terminal) line(text string) (string, error) {
	fmt.Fprint(t.out, text+": ")
	line, err := t.in.ReadString('\n')
	switch {
	case t.ctx.Err() != nil:
		fmt.Fprintln(t.out)
		return "", errors.New("interrupted")
	case errors.Is(err, io.EOF):
		return "", errors.New("the input ended")
	case err != nil:
		return "", fmt.Errorf("terminal: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// demand asks until there is an answer.
func (t *terminal) demand(q question) (string, error) {
	otherwise := *q.to
	if otherwise == "" {
		otherwise = q.suggestion
	}
	for {
		if answer, err := t.ask(q.text, otherwise); err != nil || answer != "" {
			return answer, err
		}
	}
}

// askPassword asks without an echo. Empty keeps the password that is there.
func (t *terminal) askPassword(a Answers, has bool) (string, error) {
	text := fmt.Sprintf("Password of %s (not shown)", a.User)
	if has {
		text = fmt.Sprintf("Password of %s (not shown; empty: it stays as it is)", a.User)
	}
	restore, err := t.hide()
	if err != nil {
		return "", err
	}
	defer restore()
	for {
		answer, err := t.line(text)
		fmt.Fprintln(t.out)
		if answer != "" || has || err != nil {
			return answer, err
		}
	}
}

// hide switches the echo off.
func (t *terminal) hide() (restore func(), err error) {
	conn, err := t.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var was *unix.Termios
	set := func(modes func() *unix.Termios) error {
		var failed error
		err := conn.Control(func(fd uintptr) {
			if was == nil {
				if was, failed = unix.IoctlGetTermios(int(fd), unix.TCGETS); failed != nil {
					return
				}
			}
			failed = unix.IoctlSetTermios(int(fd), unix.TCSETS, modes())
		})
		return errors.Join(err, failed)
	}
	err = set(func() *unix.Termios {
		silent := *was
		silent.Lflag &^= unix.ECHO
		return &silent
	})
	if err != nil {
		return nil, fmt.Errorf("terminal: the echo cannot be switched off: %w", err)
	}
	return func() { _ = set(func() *unix.Termios { return was }) }, nil
}
