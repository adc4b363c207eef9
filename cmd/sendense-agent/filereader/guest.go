package filereader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

const (
	// bootWithin limits the start of the appliance: with KVM it takes seconds, in software on a busy machine a minute.
	bootWithin = 8 * time.Minute
	// answerWithin limits the time of an answer, and of the pauses in what the appliance sends.
	answerWithin = 2 * time.Minute
	// mostOutput limits the size of an answer that is not the content of a file.
	mostOutput = 64 << 20
	// applianceMemory is in MiB. To read file systems takes little memory.
	applianceMemory = "768"
)

// A guest is libguestfs's appliance, a small virtual machine whose kernel reads the disk, and the guestfish that controls it.
type guest struct {
	guestfish string
	dir       string // for all files: writable, and private
	remote    string // option that selects this guestfish
	errors    string // the file that guestfish writes its errors to
}

// errHung is the error when the appliance does not answer any more.
var errHung = errors.New("the appliance that reads the disk ended or does not answer")

// boot starts the appliance on an export. If that fails with KVM it tries again in software: a /dev/kvm may exist and not work.
func boot(ctx context.Context, guestfish, dir string, export *url.URL) (*guest, error) {
	source, err := relay(export, dir+"/nbd.sock")
	if err != nil {
		return nil, err
	}
	g := &guest{guestfish: guestfish, dir: dir, errors: dir + "/errors"}
	first := g.launch(ctx, source, "")
	if first == nil {
		return g, nil
	}
	if err := g.launch(ctx, source, "force_tcg"); err != nil {
		return nil, fmt.Errorf("the appliance does not start: %w; in software: %w", first, err)
	}
	return g, nil
}

var listening = regexp.MustCompile(`GUESTFISH_PID=([0-9]+)`)

func (g *guest) launch(ctx context.Context, source, settings string) error {
	ctx, cancel := context.WithTimeout(ctx, bootWithin)
	defer cancel()
	log, err := os.OpenFile(g.errors, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the processes write to it, not this file
	cmd := confined(ctx, g.guestfish, "--listen", "--ro", "--format=raw", "--add", source)
	cmd.Env = append(os.Environ(), "LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_BACKEND_SETTINGS="+settings, "LIBGUESTFS_MEMSIZE="+applianceMemory,
		"LIBGUESTFS_CACHEDIR="+g.dir, "TMPDIR="+g.dir, "HOME="+g.dir, "XDG_RUNTIME_DIR="+g.dir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8")
	cmd.Stderr = log
	out, err := cmd.Output() // guestfish continues in the background
	pid := listening.FindSubmatch(out)
	if err != nil || pid == nil {
		return fmt.Errorf("guestfish: %w: %s", err, g.complaint())
	}
	g.remote = "--remote=" + string(pid[1])
	if err := g.run(ctx, io.Discard, "run"); err != nil {
		_, _ = g.ask(ctx, "exit") // frees its place for the next attempt
		return err
	}
	return nil
}

// command makes a command for guestfish. Arguments are passed unchanged, without a shell or quoting. The dash keeps guestfish
// running when the command fails.
func (g *guest) command(ctx context.Context, args ...string) *exec.Cmd {
	_ = os.Truncate(g.errors, 0) // afterwards it contains the errors of this command
	cmd := confined(ctx, g.guestfish, append([]string{g.remote, "--", "-" + args[0]}, args[1:]...)...)
	cmd.Env = append(os.Environ(), "HOME="+g.dir, "TMPDIR="+g.dir, "XDG_RUNTIME_DIR="+g.dir, "LC_ALL=C.UTF-8")
	cmd.WaitDelay = time.Second
	return cmd
}

// ask returns the output of a command.
func (g *guest) ask(ctx context.Context, args ...string) ([]byte, error) {
	limit, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var out bytes.Buffer
	err := g.run(limit, &capped{w: &out, left: mostOutput}, args...)
	return out.Bytes(), err
}

// run writes the output of a command. After a timeout the appliance cannot be used again.
func (g *guest) run(ctx context.Context, w io.Writer, args ...string) error {
	cmd := g.command(ctx, args...)
	cmd.Stdout = w
	err := cmd.Run()
	switch text := g.complaint(); {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %s", errHung, args[0])
	case err != nil:
		return fmt.Errorf("%w: %s: %w: %s", errHung, args[0], err, text)
	case text != "": // the exit status says nothing
		return errors.New(text)
	}
	return nil
}

// stream sends the output of a command in pieces, as long as they arrive in time.
func (g *guest) stream(ctx context.Context, send func([]byte) error, args ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := time.AfterFunc(answerWithin, cancel)
	defer watch.Stop()
	return g.run(ctx, writer(func(p []byte) error {
		watch.Stop() // the receiver may be slow
		defer watch.Reset(answerWithin)
		return send(p)
	}), args...)
}

type writer func([]byte) error

func (w writer) Write(p []byte) (int, error) {
	if err := w(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// capped fails when more is written than the limit.
type capped struct {
	w    io.Writer
	left int
}

var errTooMuch = errors.New("the answer is too large")

func (c *capped) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		return 0, errTooMuch
	}
	return c.w.Write(p)
}

// complaint returns guestfish's errors of the last command, without their prefixes.
func (g *guest) complaint() string {
	text, _ := os.ReadFile(g.errors)
	var lines []string
	for line := range strings.Lines(string(text[max(0, len(text)-4096):])) {
		line = strings.TrimSpace(line)
		line = strings.TrimPrefix(line, "*stdin*:0: ")
		line = strings.TrimPrefix(line, "libguestfs: error: ")
		if line != "" && !strings.HasPrefix(line, "libguestfs: warning:") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}
