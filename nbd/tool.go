package nbd

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	maxToolOutput = 1 << 20 // what qemu-img says in JSON is a few hundred bytes
	maxToolErrors = 4 << 10 // a corrupt image gives one line per cluster
	toolWaitDelay = 10 * time.Second
)

// ErrImageInUse is returned when another process holds the lock of an image.
var ErrImageInUse = errors.New("image is in use by another process")

// Tools runs qemu-img, and makes and reads image files, as one user.
type Tools struct {
	QemuImg string // path of qemu-img; "qemu-img" if empty
	// Credential is whom to run qemu-img and to make files as; nil is the
	// caller. Another user than oneself needs CAP_SETUID and CAP_SETGID.
	Credential *syscall.Credential
}

// ToolError is a run of qemu-img that failed.
type ToolError struct {
	Verb     string // "create", "info", "check"
	Path     string // image
	ExitCode int    // -1 if it did not exit by itself
	Stderr   string // its own words, at most 4 KiB, trimmed
	Err      error  // what Unwrap gives: a context error, ErrImageInUse, exec.ErrNotFound, ...
}

func (e *ToolError) Error() string {
	message := fmt.Sprintf("image %s: qemu-img %s: %v", e.Path, e.Verb, e.Err)
	if e.Stderr != "" {
		message += ": " + e.Stderr
	}
	return message
}

func (e *ToolError) Unwrap() error { return e.Err }

// run gives what qemu-img printed and its exit status. The error is nil only
// for status 0; stdout is given in any case, since qemu-img check reports
// through its status.
func (t Tools) run(ctx context.Context, verb, path string, args ...string) ([]byte, error) {
	binary := t.QemuImg
	if binary == "" {
		binary = "qemu-img"
	}
	stdout := &boundedBuffer{limit: maxToolOutput}
	stderr := &boundedBuffer{limit: maxToolErrors}
	cmd := exec.CommandContext(ctx, binary, append([]string{verb}, args...)...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C"}
	cmd.WaitDelay = toolWaitDelay
	if t.Credential != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: t.Credential}
	}
	err := cmd.Run()
	if err == nil && stdout.cut {
		err = fmt.Errorf("printed more than %d bytes", maxToolOutput)
	}
	if err == nil {
		return stdout.kept, nil
	}
	failure := &ToolError{Verb: verb, Path: path, ExitCode: -1, Stderr: stderr.text(), Err: err}
	if cmd.ProcessState != nil {
		failure.ExitCode = cmd.ProcessState.ExitCode()
	}
	switch {
	case ctx.Err() != nil:
		failure.Err = fmt.Errorf("stopped: %w", context.Cause(ctx))
	case errors.Is(err, exec.ErrNotFound), cmd.Process == nil && errors.Is(err, syscall.ENOENT):
		failure.Err = fmt.Errorf("%s not found: install qemu-utils: %w", binary, err)
	case strings.Contains(failure.Stderr, "Is another process using the image"):
		failure.Err = fmt.Errorf("%w: %w", ErrImageInUse, err)
	}
	return stdout.kept, failure
}

// boundedBuffer keeps the first limit bytes and swallows the rest, so that a
// talkative child neither fills memory nor blocks. It does not embed the
// buffer: io.Copy would find its ReadFrom, which knows no limit.
type boundedBuffer struct {
	kept  []byte
	limit int
	cut   bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	room := b.limit - len(b.kept)
	b.cut = b.cut || len(p) > room
	b.kept = append(b.kept, p[:min(len(p), room)]...)
	return len(p), nil
}

// text is what was kept, on one line.
func (b *boundedBuffer) text() string {
	lines := strings.FieldsFunc(string(b.kept), func(r rune) bool { return r == '\n' || r == '\r' })
	text := printable([]byte(strings.TrimSpace(strings.Join(lines, "; "))))
	if b.cut {
		text += " [...]"
	}
	return text
}
