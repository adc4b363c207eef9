package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// A step is one thing that is done. Each can be done twice.
type step struct {
	name  string
	hint  string // how to go on if it fails
	apply func(ctx context.Context) error
}

const again = "Correct the cause, then run sendense-agent setup again: what is done stays, and it does the rest."

// steps are what is to be done, in order. What is there already is no step.
func (p *plan) steps(o Options, found *Discovery) []step {
	var list []step
	add := func(needed bool, s step) {
		if needed {
			list = append(list, s)
		}
	}
	add(p.place.make, step{"make " + p.place.path, again, func(context.Context) error { return os.MkdirAll(p.place.path, 0o755) }})
	add(p.password, step{"write the password to " + p.passwordPath, again, func(context.Context) error { return p.writePassword() }})
	add(p.changesConfig(), step{"write " + p.now.path, again, func(context.Context) error { return p.writeConfig(o.Out) }})
	add(true, step{"let systemd read it (daemon-reload)", again, reload})
	add(true, step{"restart the agent", again, restart})
	add(true, step{
		"check the host (doctor)", "Do what the doctor says, then run sendense-agent setup again: it changes nothing that is right.",
		func(ctx context.Context) error {
			n, err := o.Doctor(ctx, o.Out)
			if err == nil && n > 0 {
				err = fmt.Errorf("%d of its checks failed: see above", n)
			}
			return err
		},
	})
	add(true, step{
		"put the VMs of " + p.answers.VCenter + " on record",
		"Correct the cause, then run sendensectl vm discover " + p.answers.VCenter + " --store.",
		func(ctx context.Context) error {
			fmt.Fprintf(o.Out, "The SNA asks vCenter for its VMs. 100 VMs take about 15 seconds.\n")
			var err error
			*found, err = o.Discover(ctx, p.config.Agent.Socket, p.answers.VCenter)
			return err
		},
	})
	return list
}

// runSteps does the steps in order. The error says what is done, what is not, and how to go on.
func runSteps(ctx context.Context, out io.Writer, list []step) error {
	names := func(steps []step) string {
		var all []string
		for _, s := range steps {
			all = append(all, s.name)
		}
		if all == nil {
			return "nothing"
		}
		return strings.Join(all, "; ")
	}
	fmt.Fprintln(out)
	for i, s := range list {
		err := ctx.Err()
		if err == nil {
			err = s.apply(ctx)
		}
		if ctx.Err() != nil {
			err = errors.New("interrupted")
			s.hint = again
		}
		if err != nil {
			return fmt.Errorf("%s: %w\nDone: %s.\nNot done: %s.\n%s", s.name, err, names(list[:i]), names(list[i:]), s.hint)
		}
		fmt.Fprintf(out, "Done: %s.\n", s.name)
	}
	return nil
}

// writePassword makes the file in one step, readable by root only.
func (p *plan) writePassword() error {
	if err := os.MkdirAll(filepath.Dir(p.passwordPath), 0o700); err != nil {
		return err
	}
	return replace(p.passwordPath, []byte(p.answers.password+"\n"), 0o600)
}

// writeConfig replaces the configuration in one step, and keeps the old one beside it.
func (p *plan) writeConfig(out io.Writer) error {
	is, err := os.ReadFile(p.now.path)
	if p.now.exists && err != nil || !p.now.exists && !errors.Is(err, os.ErrNotExist) || p.now.exists && !bytes.Equal(is, p.now.text) {
		return fmt.Errorf("%s has changed since it was read: look at it", p.now.path)
	}
	mode := os.FileMode(0o644)
	if p.now.exists {
		info, err := os.Stat(p.now.path)
		if err != nil {
			return err
		}
		mode = info.Mode().Perm()
		old := fmt.Sprintf("%s.before-%s", p.now.path, time.Now().UTC().Format("20060102T150405.000Z"))
		if err := replace(old, p.now.text, mode); err != nil {
			return err
		}
		fmt.Fprintf(out, "The old configuration is kept: %s\n", old)
	} else if err := os.MkdirAll(filepath.Dir(p.now.path), 0o755); err != nil {
		return err
	}
	return replace(p.now.path, p.text, mode)
}

// replace writes a file in one step: there is the old content or the new one, also after a power loss. It belongs to root.
func replace(path string, text []byte, mode os.FileMode) error {
	if err := renameio.WriteFile(path, text, mode, renameio.IgnoreUmask(), renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// lock keeps two setups from running at the same time.
func lock(path string) (unlock func(), err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is locked: another setup is running (%w)", dir, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
