package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/doctor"
)

// placePatience limits the look at a directory, whose storage may hang.
const placePatience = 30 * time.Second

// A place is where a repository is, or will be.
type place struct {
	path  string
	make  bool     // it does not exist yet
	free  uint64   // bytes
	notes []string // what the user should know
}

// checkPlace refuses a directory that is no good place for restore points.
func checkPlace(ctx context.Context, path string, reserve int64) (place, error) {
	if err := refusePath(path); err != nil {
		return place{}, err
	}
	type result struct {
		place place
		err   error
	}
	answer := make(chan result, 1) // a look at storage that hangs cannot be ended: it stays behind
	go func() {
		p, err := look(path, reserve)
		answer <- result{p, err}
	}()
	select {
	case r := <-answer:
		return r.place, r.err
	case <-ctx.Done():
		return place{}, errors.New("interrupted")
	case <-time.After(placePatience):
		return place{}, fmt.Errorf("repository %s: the storage does not answer for %s: look at its mount (findmnt --target %s)", path, placePatience, path)
	}
}

var (
	// systemd-tmpfiles empties some of these, the others are in memory or belong to the system.
	notBelow  = []string{"/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/tmp", "/usr", "/var/tmp", "/var/lib/sendense-agent"}
	notItself = []string{"/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/var", "/var/lib"}
)

func refusePath(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("repository %q: want an absolute path", path)
	}
	if filepath.Clean(path) != path || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("repository %q: write it as %q", path, filepath.Clean(path))
	}
	for _, dir := range notBelow {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return fmt.Errorf("repository %s: %s is no place for restore points: the system owns it. Use a directory such as /srv/backup", path, dir)
		}
	}
	if slices.Contains(notItself, path) {
		return fmt.Errorf("repository %s: give it a directory of its own, such as /srv/backup", path)
	}
	return nil
}

// look examines the directory, or the nearest one above it that exists.
func look(path string, reserve int64) (place, error) {
	p, at := place{path: path}, path
	info, err := os.Stat(at)
	for errors.Is(err, fs.ErrNotExist) {
		if _, link := os.Lstat(at); link == nil {
			return p, fmt.Errorf("repository %s: %s is a symbolic link to nothing", path, at)
		}
		p.make, at = true, filepath.Dir(at)
		info, err = os.Stat(at)
	}
	if err != nil {
		return p, fmt.Errorf("repository %s: %w", path, err)
	}
	if !info.IsDir() {
		return p, fmt.Errorf("repository %s: %s is not a directory", path, at)
	}
	real, err := filepath.EvalSymlinks(at)
	if err != nil {
		return p, fmt.Errorf("repository %s: %w", path, err)
	}
	if real != at {
		if err := refusePath(real); err != nil && !p.make {
			return p, fmt.Errorf("%s leads to %s: %w", path, real, err)
		}
	}
	if mount := doctor.MissingMount(path); mount != "" {
		return p, fmt.Errorf("repository %s: %s is in /etc/fstab and is not mounted: run mount %s first", path, mount, mount)
	}
	if !p.make && info.Mode().Perm()&0o002 != 0 {
		return p, fmt.Errorf("repository %s: mode %04o: everybody can remove files in it. Run chmod o-w %s first", path, info.Mode().Perm(), path)
	}
	return p, p.room(at, reserve)
}

// room checks the file system: it must be on a disk, writable, and have free space.
func (p *place) room(at string, reserve int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(at, &s); err != nil {
		return fmt.Errorf("repository %s: %w", p.path, err)
	}
	p.free = s.Bavail * uint64(s.Bsize)
	switch {
	case s.Type == unix.TMPFS_MAGIC || s.Type == unix.RAMFS_MAGIC:
		return fmt.Errorf("repository %s: is in memory (tmpfs): restore points would be lost at the next restart of the host", p.path)
	case s.Flags&unix.ST_RDONLY != 0:
		return fmt.Errorf("repository %s: the file system is read-only", p.path)
	case p.free < uint64(reserve):
		return fmt.Errorf("repository %s: only %s are free. A backup needs %s (space.reserve) to start", p.path, config.SizeOf(int64(p.free>>20)<<20), config.SizeOf(reserve))
	}
	var root unix.Stat_t
	var here unix.Stat_t
	if unix.Stat("/", &root) == nil && unix.Stat(at, &here) == nil && root.Dev == here.Dev {
		p.notes = append(p.notes, p.path+" is on the file system of /. If backups fill it, the host has no space either. A file system of its own is better.")
	}
	return nil
}

// occupied reports whether the directory of a repository holds anything, or cannot be read.
func occupied(path string) bool {
	entries, err := os.ReadDir(path)
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "lost+found" })
	return len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist)
}
