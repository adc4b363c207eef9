package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/confine"
	"github.com/sendense/backup-agent/nbd/qcow2"
)

const (
	maxToolOutput = 1 << 20 // what qemu-img says in JSON is a few hundred bytes
	maxToolErrors = 4 << 10 // a corrupt image gives one line per cluster
	toolWaitDelay = 10 * time.Second
)

// ErrImageInUse is returned when another process holds the lock of an image.
var ErrImageInUse = errors.New("image is in use by another process")

// Tools runs qemu-img, and makes and reads image files, as one user. Images are untrusted: qemu-img is confined to the one
// file that it is run for (see package confine).
type Tools struct {
	QemuImg string // path of qemu-img; "qemu-img" if empty
	// Roots are directories below which no symbolic link is followed, such as repositories.
	Roots []string
	// Credential is whom to run qemu-img and to make files as; nil is the
	// caller. Another user than oneself needs CAP_SETUID and CAP_SETGID.
	Credential *syscall.Credential
	// Key is what Create encrypts an image with, and what Check and Unlock open one with. Without it images are plain.
	Key Secret

	programDirs []string // for tests, in which a script stands in the place of qemu-img
}

// WithKey are the tools for images of a key.
func (t Tools) WithKey(key Secret) Tools {
	t.Key = key
	return t
}

// fits says whether there is a key for an image that is encrypted, and none for one that is not.
func (t Tools) fits(path string, info qcow2.Info) error {
	switch {
	case info.Encrypted && t.Key.IsZero():
		return fmt.Errorf("image %s: %w", path, ErrKeyNeeded)
	case !info.Encrypted && !t.Key.IsZero():
		return fmt.Errorf("image %s: %w", path, ErrNotEncrypted)
	}
	return nil
}

// Confined says why qemu-img cannot be confined to its image on this host; nil if it can. Tools then run it all the same, without
// a network and within limits.
func Confined() error { return confine.Supported() }

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

// A call is what one run of qemu-img is allowed.
type call struct {
	verb, path string
	image      *os.File   // the file at path, which it may open
	write      bool       // and change
	read       []*os.File // more files that it may open
	written    []*os.File // and change
	stdout     io.Writer  // is given what it prints, which is not kept then; may be nil
	keys       keyring    // that it is handed
	limits     confine.Limits
}

// run gives what qemu-img printed and its exit status. The error is nil only
// for status 0; stdout is given in any case, since qemu-img check reports
// through its status.
func (t Tools) run(ctx context.Context, c call, args ...string) ([]byte, error) {
	binary := t.QemuImg
	if binary == "" {
		binary = "qemu-img"
	}
	stdout := &boundedBuffer{limit: maxToolOutput}
	stderr := &boundedBuffer{limit: maxToolErrors}
	cmd := exec.CommandContext(ctx, binary, slices.Concat([]string{c.verb}, c.keys.args(), args)...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C"}
	cmd.WaitDelay = toolWaitDelay
	if t.Credential != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: t.Credential}
	}
	keys, err := c.keys.files()
	defer closeAll(keys)
	if err != nil {
		return nil, &ToolError{Verb: c.verb, Path: c.path, ExitCode: -1, Err: err}
	}
	cmd.ExtraFiles = keys
	err = confine.Run(cmd, c.rules(t.programDirs))
	if err == nil && stdout.cut {
		err = fmt.Errorf("printed more than %d bytes", maxToolOutput)
	}
	if err == nil {
		return stdout.kept, nil
	}
	failure := &ToolError{Verb: c.verb, Path: c.path, ExitCode: -1, Stderr: stderr.text(), Err: err}
	if cmd.ProcessState != nil {
		failure.ExitCode = cmd.ProcessState.ExitCode()
	}
	switch {
	case ctx.Err() != nil:
		failure.Err = fmt.Errorf("stopped: %w", context.Cause(ctx))
	case cmd.ProcessState != nil && outOfTime(cmd.ProcessState):
		failure.Err = fmt.Errorf("took more than %s of processor time, which no sound image needs: %w", c.limits.CPU, err)
	case errors.Is(err, exec.ErrNotFound), cmd.Process == nil && errors.Is(err, syscall.ENOENT):
		failure.Err = fmt.Errorf("%s not found: install qemu-utils: %w", binary, err)
	case strings.Contains(failure.Stderr, "Is another process using the image"):
		failure.Err = fmt.Errorf("%w: %w", ErrImageInUse, err)
	case strings.Contains(failure.Stderr, wrongPassword):
		failure.Err = fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	return stdout.kept, failure
}

// closeAll closes files through which nothing was written.
func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

func (c call) rules(programDirs []string) confine.Rules {
	rules := confine.Rules{ProgramDirs: programDirs, Limits: c.limits, Read: c.read, Write: c.written}
	switch {
	case c.image == nil:
	case c.write:
		rules.Write = append(rules.Write, c.image)
	default:
		rules.Read = append(rules.Read, c.image)
	}
	return rules
}

// wrongPassword is what QEMU says of a key that opens no slot of an image (crypto/block-luks.c).
const wrongPassword = "Invalid password, cannot unlock any keyslot"

// outOfTime says whether a process was stopped at its limit of processor time.
func outOfTime(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGXCPU
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
	text := nbd.Printable([]byte(strings.TrimSpace(strings.Join(lines, "; "))))
	if b.cut {
		text += " [...]"
	}
	return text
}
