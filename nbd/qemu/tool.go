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
	maxToolOutput = 1 << 20 // bytes; the JSON that qemu-img prints has a few hundred
	maxToolErrors = 4 << 10 // bytes; for a corrupt image qemu-img prints a line per cluster
	toolWaitDelay = 10 * time.Second
)

// ErrImageInUse: another process holds the lock of an image.
var ErrImageInUse = errors.New("image is in use by another process")

// Tools runs qemu-img, and makes and reads image files, as one user. Images are untrusted: each run of qemu-img is confined to the
// files that it needs (see package confine).
type Tools struct {
	QemuImg string // path of qemu-img; "qemu-img" if empty
	// Roots are directories below which no symbolic link is followed, such as repositories.
	Roots []string
	// Credential is the user that runs qemu-img and owns new files; nil is the
	// caller. Another user needs CAP_SETUID and CAP_SETGID.
	Credential *syscall.Credential
	// Key encrypts the images that Create makes, and opens those of Check and Unlock. Without it images are not encrypted.
	Key Secret

	programDirs []string // for tests, in which a script replaces qemu-img
}

// WithKey returns tools for images with another key; the zero Secret for images that are not encrypted.
func (t Tools) WithKey(key Secret) Tools {
	t.Key = key
	return t
}

// checkKey fails if there is no key for an encrypted image, or a key for one that is not encrypted.
func (t Tools) checkKey(path string, info qcow2.Info) error {
	switch {
	case info.Encrypted && t.Key.IsZero():
		return fmt.Errorf("image %s: %w", path, ErrKeyNeeded)
	case !info.Encrypted && !t.Key.IsZero():
		return fmt.Errorf("image %s: %w", path, ErrNotEncrypted)
	}
	return nil
}

// Confined returns why qemu-img cannot be fully confined to its images on this host; nil if it can. Tools then run it all the same,
// with the restrictions that work.
func Confined() error { return confine.Supported() }

// ToolError is the error of a run of qemu-img.
type ToolError struct {
	Verb     string // "create", "check", "commit", ...
	Path     string // of the image
	ExitCode int    // -1 if it was killed or did not start
	Stderr   string // what it printed, at most 4 KiB, trimmed
	Err      error  // returned by Unwrap: a context error, ErrImageInUse, exec.ErrNotFound, ...
}

func (e *ToolError) Error() string {
	message := fmt.Sprintf("image %s: qemu-img %s: %v", e.Path, e.Verb, e.Err)
	if e.Stderr != "" {
		message += ": " + e.Stderr
	}
	return message
}

func (e *ToolError) Unwrap() error { return e.Err }

// A call is one run of qemu-img and what it may use.
type call struct {
	verb, path string
	image      *os.File   // the file at path, which it may read
	write      bool       // whether it may also change image
	read       []*os.File // more files that it may read
	written    []*os.File // more files that it may read and change
	stdout     io.Writer  // gets its output, which run then does not return; may be nil
	keys       keyring
	limits     confine.Limits
}

// run returns the output of qemu-img. The error is nil only for exit status 0;
// otherwise it is a *ToolError, and the output is returned too: qemu-img check
// reports its findings with a status above 0.
func (t Tools) run(ctx context.Context, c call, args ...string) ([]byte, error) {
	binary := t.QemuImg
	if binary == "" {
		binary = "qemu-img"
	}
	stdout := &boundedBuffer{limit: maxToolOutput}
	stderr := &boundedBuffer{limit: maxToolErrors}
	cmd := exec.Command(binary, slices.Concat([]string{c.verb}, c.keys.args(), args)...)
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
	err = confine.Run(ctx, cmd, c.rules(t.programDirs))
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
	case cmd.ProcessState != nil && endedBy(cmd.ProcessState, syscall.SIGXCPU):
		failure.Err = fmt.Errorf("used more than %s of processor time, which no intact image needs: %w", c.limits.CPU, err)
	case cmd.ProcessState != nil && endedBy(cmd.ProcessState, syscall.SIGXFSZ), strings.Contains(failure.Stderr, "File too large"):
		failure.Err = fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, exec.ErrNotFound), cmd.Process == nil && errors.Is(err, syscall.ENOENT):
		failure.Err = fmt.Errorf("%s not found: install qemu-utils: %w", binary, err)
	case strings.Contains(failure.Stderr, "Is another process using the image"):
		failure.Err = fmt.Errorf("%w: %w", ErrImageInUse, err)
	case strings.Contains(failure.Stderr, wrongPassword):
		failure.Err = fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	return stdout.kept, failure
}

// closeAll closes files that were not written through these descriptors.
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

// wrongPassword is QEMU's message for a key that opens no slot of an image (crypto/block-luks.c).
const wrongPassword = "Invalid password, cannot unlock any keyslot"

// endedBy reports whether a signal ended a process, such as that of a limit.
func endedBy(state *os.ProcessState, signal syscall.Signal) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == signal
}

// boundedBuffer keeps the first limit bytes and discards the rest, so that a
// child that prints too much neither fills memory nor blocks. It does not embed a
// bytes.Buffer: io.Copy would use its ReadFrom, which has no limit.
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

// text returns what was kept, on one line.
func (b *boundedBuffer) text() string {
	lines := strings.FieldsFunc(string(b.kept), func(r rune) bool { return r == '\n' || r == '\r' })
	text := nbd.Printable([]byte(strings.TrimSpace(strings.Join(lines, "; "))))
	if b.cut {
		text += " [...]"
	}
	return text
}
