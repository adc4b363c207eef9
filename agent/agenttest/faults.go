package agenttest

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
)

// Large makes a full backup and an incremental of a disk that takes a while to copy.
func (w Chains) Large() (points []Instant) {
	w.Helper()
	const size = 96 << 20
	_, sources := w.PutVM("vm", size)
	data := make([]byte, size)
	_, _ = rand.Read(data)
	Must(w.TB, os.WriteFile(sources[0], data, 0o600))
	points = append(points, Instant{Backup: w.Point("vm", record.Full), Disks: Freeze(w.TB, sources)})
	Scribble(w.TB, sources[0], 1<<20)
	return append(points, Instant{Backup: w.Point("vm", record.Incremental), Disks: Freeze(w.TB, sources)})
}

// Start starts the merge of a restore point into a synthetic full. The channel gets its error at the end.
func (w Merges) Start(id string) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := w.Agent.Merges.SyntheticFull(w.Context(), id)
		done <- err
	}()
	return done
}

// UntilPhase waits until a merge is in a phase and has done at least a fraction (0 to 1) of it.
func (w Merges) UntilPhase(id, phase string, fraction float64) {
	w.Helper()
	w.Eventually("merge of "+id+" is "+phase, func() bool {
		p, ok := w.Agent.Merges.Progress(id)
		return ok && p.Phase == phase && p.Fraction >= fraction
	})
}

// Fails waits for the end of a merge that cannot succeed. It checks the error, and that everything is unchanged.
func (w Merges) Fails(done <-chan error, reason fault.Reason, words string, points []Instant) {
	w.Helper()
	var e *fault.Error
	if err := <-done; !errors.As(err, &e) || e.Reason != reason || !strings.Contains(err.Error(), words) {
		w.Errorf("it ended with %v, want %s: %s", err, reason, words)
	}
	w.AsBefore(points)
}

// AsBefore fails the test unless nothing is left of a merge and the chain is unchanged.
func (w Merges) AsBefore(points []Instant) {
	w.Helper()
	last := points[len(points)-1]
	w.Eventually("nothing is left of the merge", func() bool {
		b, err := w.Agent.Records.Backup(last.ID)
		Must(w.TB, err)
		left, err := filepath.Glob(filepath.Join(filepath.Dir(last.Directory), ".merge-*"))
		Must(w.TB, err)
		return b.Merge == nil && len(left) == 0
	})
	b, err := w.Agent.Records.Backup(last.ID)
	Must(w.TB, err)
	if b.Type != record.Incremental || b.Parent != last.Parent || b.Merged != nil {
		w.Errorf("it is not what it was: %+v", b)
	}
	w.Chains.Whole(points...)
}

// ProcessOf returns the PID of a qemu-img that runs verb in a directory; 0 if there is none.
func ProcessOf(verb, dir string) int {
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(text), "qemu-img\x00"+verb+"\x00") && !strings.Contains(string(text), "/qemu-img\x00"+verb+"\x00") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && strings.Contains(string(text), dir) {
			return pid
		}
	}
	return 0
}

// Fill fills the file system of a directory until at most left bytes and a few pages are free. It returns the path of the file that does
// so.
func Fill(t testing.TB, dir string, left int64) string {
	t.Helper()
	ballast, err := os.CreateTemp(dir, "ballast-")
	Must(t, err)
	defer func() { Must(t, ballast.Close()) }()
	var size int64
	for step := int64(1 << 62); step > 4<<10; {
		space, err := repository.SpaceAt(dir)
		Must(t, err)
		step = min(step, int64(space.Free)-left)
		if step <= 0 {
			break
		}
		switch err := unix.Fallocate(int(ballast.Fd()), 0, size, step); err {
		case nil:
			size += step
		case unix.ENOSPC:
			step /= 2 // somebody else took room in between, or the file system needs some for itself
		default:
			Must(t, err)
		}
	}
	return ballast.Name()
}
