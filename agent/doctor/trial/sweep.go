package trial

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/units"
)

// Sweep removes what a killed doctor has left. What it cannot remove is left to the next run.
func Sweep(ctx context.Context, bus *units.Manager, r config.Repository) {
	list, _ := bus.List(ctx, Prefix)
	for _, u := range list {
		if isStale(u.Name) {
			_ = bus.Remove(ctx, u.Name)
		}
	}
	entries, _ := os.ReadDir(r.Path)
	for _, e := range entries {
		name, ours := strings.CutPrefix(e.Name(), "."+Prefix)
		if ours && isStale(Prefix+name) {
			_ = removeDir(r.Path, e.Name())
		}
	}
}

// SweepTemporary removes the temporary directories of killed doctors.
func SweepTemporary() {
	entries, _ := os.ReadDir(os.TempDir())
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || !isStale(e.Name()) || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
			continue
		}
		_ = os.RemoveAll(filepath.Join(os.TempDir(), e.Name())) // the rest is left to the next run
	}
}

// isStale says whether the process that made a name has ended.
func isStale(name string) bool {
	rest, ours := strings.CutPrefix(name, Prefix)
	pid, _, ok := strings.Cut(rest, "-")
	if n, err := strconv.Atoi(pid); !ours || !ok || err != nil || n <= 0 {
		return false
	}
	_, err := os.Stat("/proc/" + pid)
	return errors.Is(err, fs.ErrNotExist)
}

// removeDir removes a directory of a repository. The exporters' user owns it, and cannot lead the removal elsewhere.
func removeDir(path, name string) error {
	root, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // it was only read
	return root.RemoveAll(name)
}
