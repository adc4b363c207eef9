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

// Sweep removes what a doctor left behind that was killed. What it cannot remove stays for the next one.
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

// SweepTemporary removes the directories of doctors that were killed.
func SweepTemporary() {
	entries, _ := os.ReadDir(os.TempDir())
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || !isStale(e.Name()) || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
			continue
		}
		_ = os.RemoveAll(filepath.Join(os.TempDir(), e.Name())) // what stays is the next one's
	}
}

// isStale says whether the process that a name was made by is gone.
func isStale(name string) bool {
	rest, ours := strings.CutPrefix(name, Prefix)
	pid, _, ok := strings.Cut(rest, "-")
	if n, err := strconv.Atoi(pid); !ours || !ok || err != nil || n <= 0 {
		return false
	}
	_, err := os.Stat("/proc/" + pid)
	return errors.Is(err, fs.ErrNotExist)
}

// removeDir removes a directory of a repository; the image user, to whom it belongs, can lead it nowhere else.
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
