package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qcow2"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// maxChain bounds how many restore points may stand on one another; each is one more file that QEMU opens.
const maxChain = 500

// A damageError is a finding: what was read is not what was made. Any other error says that nothing could be read.
type damageError struct {
	err error

	// readable says that the file is the one that was made, as far as its name, its manifest and its header tell, and QEMU can read it:
	// whoever asks for it in spite of the damage gets what is left. Of any other nobody knows what would be read.
	readable bool
}

func (e *damageError) Error() string { return e.err.Error() }

func (e *damageError) Unwrap() error { return e.err }

func damagef(format string, args ...any) error {
	return &damageError{err: fmt.Errorf(format, args...)}
}

// readableDamage is damagef for a file that can be read all the same.
func readableDamage(format string, args ...any) error {
	return &damageError{err: fmt.Errorf(format, args...), readable: true}
}

func isDamage(err error) bool {
	var damage *damageError
	return errors.As(err, &damage)
}

// chain lists a restore point and all it stands on, the newest first.
func (a *Agent) chain(point record.Backup) ([]record.Backup, error) {
	list := []record.Backup{point}
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
func (a *Agent) ancestors(b record.Backup) ([]record.Backup, error) {
	points, err := a.chain(b)
	if err != nil {
		return nil, err
	}
	return points[1:], nil
}

// dirsOf are the directories that restore points lie in.
func dirsOf(repo *repository.Repository, points []record.Backup) []string {
	dirs := make([]string, len(points))
	for i, p := range points {
		dirs[i] = dirOf(repo, p)
	}
	return dirs
}

// dirOf is where the images of a backup lie in a repository as it is configured now: its path may be another one than when
// the backup was made.
func dirOf(repo *repository.Repository, b record.Backup) string {
	return repo.Dir(nbd.DirName(b.VM.Name), b.ID)
}

// finding tells a finding from a failure to look. What a program says of a file it could read is a finding; what the
// system says in the place of the file's content is none.
func finding(err error) error {
	if err == nil {
		return nil
	}
	var tool *qemu.ToolError
	var changed *repository.Changed
	if errors.As(err, &changed) || errors.Is(err, qcow2.ErrCutShort) {
		return &damageError{err: err, readable: true}
	}
	for _, found := range []error{
		qemu.ErrCorrupt, qcow2.ErrNotQcow2, qcow2.ErrExternalData, repository.ErrNoManifest, fs.ErrNotExist,
		syscall.ELOOP, // a link in the place of an image: it is never followed
	} {
		if errors.Is(err, found) && !(errors.As(err, &tool) && tool.ExitCode < 0) {
			return &damageError{err: err}
		}
	}
	if errors.As(err, &tool) {
		if tool.ExitCode <= 0 || errors.Is(err, qemu.ErrImageInUse) || systemSays(tool.Stderr) {
			return err
		}
		return &damageError{err: err}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &damageError{err: err}
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
