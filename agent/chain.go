package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd"
)

// maxChain bounds how many restore points may stand on one another; each is one more file that QEMU opens.
const maxChain = 500

// A damageError is a finding: what was read is not what was made. Any other error says that nothing could be read.
type damageError struct{ err error }

func (e *damageError) Error() string { return e.err.Error() }

func (e *damageError) Unwrap() error { return e.err }

func damagef(format string, args ...any) error {
	return &damageError{fmt.Errorf(format, args...)}
}

// chain lists a restore point and all it stands on, the newest first.
func (a *Agent) chain(point backup.Backup) ([]backup.Backup, error) {
	list := []backup.Backup{point}
	for point.Parent != "" {
		if len(list) == maxChain {
			return nil, damagef("more than %d restore points stand on one another: make a full backup", maxChain)
		}
		parent, err := a.store.Backup(point.Parent)
		if AsError(notFound(err)).has(BackupNotFound) {
			return nil, damagef("restore point %s: its parent %s is not on record", point.ID, point.Parent)
		}
		if err != nil {
			return nil, err
		}
		list, point = append(list, parent), parent
	}
	return list, nil
}

// ancestors are all that an incremental stands on, the newest first.
func (a *Agent) ancestors(b backup.Backup) ([]backup.Backup, error) {
	points, err := a.chain(b)
	if err != nil {
		return nil, err
	}
	return points[1:], nil
}

// dirsOf are the directories that restore points lie in.
func dirsOf(repo *repository.Repository, points []backup.Backup) []string {
	dirs := make([]string, len(points))
	for i, p := range points {
		dirs[i] = dirOf(repo, p)
	}
	return dirs
}

// dirOf is where the images of a backup lie in a repository as it is configured now: its path may be another one than when
// the backup was made.
func dirOf(repo *repository.Repository, b backup.Backup) string {
	return repo.Dir(nbd.DirName(b.VM.Name), b.ID)
}

// verifyChain proves that a restore point and all it stands on are what their manifests say. Every image is looked at
// before QEMU follows a backing file, for an image can name any file as its backing: what it names must be what was made.
func (a *Agent) verifyChain(ctx context.Context, repo *repository.Repository, point backup.Backup) error {
	points, err := a.chain(point)
	if err != nil {
		return err
	}
	if err := present(repo); err != nil {
		return err
	}
	for i, p := range points {
		if err := knownDamaged(p); err != nil {
			return err
		}
		m, err := repo.Manifest(nbd.DirName(p.VM.Name), p.ID)
		if err != nil {
			return finding(err)
		}
		if err := repo.Share(nbd.DirName(p.VM.Name), m); err != nil {
			return finding(err)
		}
		for _, d := range m.Disks {
			if err := a.verifyImage(ctx, repo, filepath.Join(dirOf(repo, p), d.File), d, i == 0); err != nil {
				return fmt.Errorf("disk %d of %s: %w", d.DiskID, p.ID, err)
			}
		}
	}
	return nil
}

// present fails when a repository is away: the mount point of a network file system that is not mounted is empty.
func present(repo *repository.Repository) error {
	entries, err := os.ReadDir(repo.Path)
	if err == nil && len(entries) == 0 {
		err = fmt.Errorf("repository %s: %s is empty: is it mounted?", repo.ID, repo.Path)
	}
	return err
}

// verifyImage compares an image with its manifest and, when deep, checks its metadata. Of one that is encrypted it proves that
// the key opens it, which nothing but that tells.
func (a *Agent) verifyImage(ctx context.Context, repo *repository.Repository, path string, d repository.ManifestDisk, deep bool) error {
	info, err := a.tools.Info(path)
	if err != nil {
		return finding(err)
	}
	switch {
	case info.VirtualBytes != d.CapacityBytes:
		return damagef("image %s has %d bytes, its manifest says %d", path, info.VirtualBytes, d.CapacityBytes)
	case info.BackingFile != d.Backing:
		return damagef("image %s stands on %q, its manifest says %q", path, info.BackingFile, d.Backing)
	case info.BackingFile != "" && info.BackingFormat != nbd.ImageFormat:
		return damagef("image %s stands on %q as an image of format %q: want %s", path, info.BackingFile, info.BackingFormat, nbd.ImageFormat)
	case info.Encrypted != (d.KeyID() != ""):
		return damagef("image %s is encrypted: %v, its manifest says %v", path, info.Encrypted, d.KeyID() != "")
	case info.Corrupt || info.Dirty:
		return damagef("image %s is marked as damaged", path)
	}
	if d.KeyID() == "" && !deep {
		return nil
	}
	tools, err := a.keyedTools(repo, d.KeyID())
	switch {
	case err != nil:
		return err
	case deep:
		_, err = tools.Check(ctx, path)
	default:
		err = tools.Unlock(ctx, path)
	}
	if errors.Is(err, nbd.ErrWrongKey) {
		return wrongKey(repo, d.KeyID(), path)
	}
	return finding(err)
}

// finding tells a finding from a failure to look. What a program says of a file it could read is a finding; what the
// system says in the place of the file's content is none.
func finding(err error) error {
	if err == nil {
		return nil
	}
	var tool *nbd.ToolError
	for _, found := range []error{
		nbd.ErrCorrupt, nbd.ErrNotQcow2, nbd.ErrExternalData, repository.ErrNoManifest, fs.ErrNotExist,
		syscall.ELOOP, // a link in the place of an image: it is never followed
	} {
		if errors.Is(err, found) && !(errors.As(err, &tool) && tool.ExitCode < 0) {
			return &damageError{err}
		}
	}
	if errors.As(err, &tool) {
		if tool.ExitCode <= 0 || errors.Is(err, nbd.ErrImageInUse) || systemSays(tool.Stderr) {
			return err
		}
		return &damageError{err}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &damageError{err}
}

func systemSays(words string) bool {
	for _, errno := range []string{
		"Input/output error", "Stale file handle", "Too many open files", "Cannot allocate memory", "Permission denied",
		"Connection timed out", "Transport endpoint is not connected",
	} {
		if strings.Contains(words, errno) {
			return true
		}
	}
	return false
}
