package agenttest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/restore"
)

// Serve starts a restore and fails the test if that fails.
func (w Restores) Serve(req restore.Request) record.Restore {
	w.Helper()
	r, err := w.Agent.Restores.Start(w.Context(), req)
	Must(w.TB, err)
	if r.State != record.RestoreServing {
		w.Fatalf("restore %s is %s", r.ID, r.State)
	}
	return r
}

// Stop stops a restore and returns its record.
func (w Restores) Stop(id string) record.Restore {
	w.Helper()
	r, err := w.Agent.Restores.Stop(w.Context(), id)
	Must(w.TB, err)
	return r
}

// Wait waits until a restore has ended, and returns its record.
func (w Restores) Wait(id string) (r record.Restore) {
	w.Helper()
	w.Eventually("restore "+id+" continues", func() bool {
		var err error
		r, err = w.Agent.Records.Restore(id)
		Must(w.TB, err)
		return !r.State.Active()
	})
	return r
}

// Compare fails the test unless every disk of a restore, read over NBD, equals its frozen source.
func (w Restores) Compare(r record.Restore, frozen []string) {
	w.Helper()
	if len(r.Disks) != len(frozen) {
		w.Fatalf("%d disks are served, want %d", len(r.Disks), len(frozen))
	}
	for i, d := range r.Disks {
		info, err := os.Stat(frozen[i])
		Must(w.TB, err)
		if d.CapacityBytes != info.Size() {
			w.Errorf("%s has %d bytes, want %d", d.URL, d.CapacityBytes, info.Size())
		}
		if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "raw", frozen[i], d.URL).CombinedOutput(); err != nil {
			w.Errorf("%s is not what its disk was: %s", d.URL, out)
		}
		copied := filepath.Join(w.TempDir(), "copy.raw")
		if out, err := exec.Command("nbdcopy", d.URL, copied).CombinedOutput(); err != nil {
			w.Fatalf("nbdcopy: %s", out)
		}
		if Digest(w.TB, copied) != Digest(w.TB, frozen[i]) {
			w.Errorf("%s: what nbdcopy has read is not what the disk was", d.URL)
		}
		Must(w.TB, os.Remove(copied))
	}
}

// Digest returns the SHA-256 of the content of files, one after another.
func Digest(t testing.TB, paths ...string) string {
	t.Helper()
	h := sha256.New()
	for _, path := range paths {
		f, err := os.Open(path)
		Must(t, err)
		_, err = io.Copy(h, f)
		Must(t, errors.Join(err, f.Close()))
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// ImagesOf returns the paths of all images of restore points.
func ImagesOf(points ...record.Backup) (paths []string) {
	for _, b := range points {
		for _, d := range b.Runs {
			paths = append(paths, d.Image)
		}
	}
	return paths
}

// Write tries to write 64 KiB to an export. It returns the output of qemu-io.
func Write(url string, offset int64) (string, error) {
	out, err := exec.Command("qemu-io", "-f", "raw", "-c", fmt.Sprintf("write -P 0x5a %d 64k", offset), "-c", "flush", url).CombinedOutput()
	if err == nil && strings.Contains(string(out), "rror") { // qemu-io exits with 0 after some errors
		err = errors.New("qemu-io")
	}
	return string(out), err
}

// Confined checks, from inside the exporters of a restore, that in the repository they can write only their own overlays.
func (w Restores) Confined(r record.Restore, points ...record.Backup) {
	w.Helper()
	repo := w.Config.Repositories[0].Path
	for _, d := range r.Disks {
		root := fmt.Sprintf("/proc/%d/root", d.PID)
		dirs := []string{repo, filepath.Dir(filepath.Dir(points[0].Directory))}
		for _, b := range points {
			dirs = append(dirs, b.Directory)
			f, err := os.OpenFile(root+b.Runs[0].Image, os.O_WRONLY, 0)
			if err == nil {
				w.Errorf("disk %d: its exporter could write to %s: %v", d.DiskID, b.Runs[0].Image, f.Close())
			}
		}
		for _, dir := range dirs {
			if err := os.WriteFile(filepath.Join(root+dir, "x"), nil, 0o600); err == nil {
				w.Errorf("disk %d: its exporter could write to %s", d.DiskID, dir)
			}
		}
		if readOnly := slices.Contains(argv(w.TB, d.PID), "--read-only"); readOnly == r.Writable {
			w.Errorf("disk %d: %q", d.DiskID, argv(w.TB, d.PID))
		}
	}
}

func argv(t testing.TB, pid int) []string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	Must(t, err)
	return strings.Split(string(text), "\x00")
}
