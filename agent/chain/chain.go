// Package chain knows what a restore point is based on. It loads a chain of restore points, proves that each is unchanged, tells damage
// from a failure to read, and chooses the parent of a new backup. It changes nothing.
package chain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"syscall"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd/qcow2"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// Parts are what Chains uses.
type Parts struct {
	Store        *store.Store
	Repositories *repositories.Set
	Exports      *export.Manager
	Log          *slog.Logger
}

// Chains loads and proves chains. Its methods may be called from any goroutine.
type Chains struct{ Parts }

// New returns a Chains.
func New(p Parts) *Chains { return &Chains{p} }

// MaxChain limits the restore points in a chain. QEMU opens one more file for each.
const MaxChain = 500

// Damage is an error that reports a finding: what was read is not what was written. Any other error reports that nothing could be read.
type Damage struct {
	Err error

	// Readable reports that the file is the one that was written, by its name, its manifest and its header, and that QEMU can read it. A
	// caller that accepts damage gets what is left of the file. If Readable is false, nobody knows what would be read.
	Readable bool
}

// Error implements error.
func (e *Damage) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Damage) Unwrap() error { return e.Err }

// Damagef returns a *Damage with a formatted message. Its cause is what %w names.
func Damagef(format string, args ...any) error {
	return &Damage{Err: fmt.Errorf(format, args...)}
}

// readableDamage is Damagef for a file that can be read in spite of its damage.
func readableDamage(format string, args ...any) error {
	return &Damage{Err: fmt.Errorf(format, args...), Readable: true}
}

func isDamage(err error) bool {
	var damage *Damage
	return errors.As(err, &damage)
}

// Points lists a restore point and all that it is based on, the newest first. It returns a *Damage if a parent is not on record, or if
// the chain is longer than MaxChain.
func (c *Chains) Points(point record.Backup) ([]record.Backup, error) {
	list := []record.Backup{point}
	for point.Parent != "" {
		if len(list) == MaxChain {
			return nil, Damagef("the chain has more than %d restore points: make a full backup", MaxChain)
		}
		parent, err := c.Store.Backup(point.Parent)
		if fault.From(ledger.NotFound(err)).Has(fault.BackupNotFound) {
			return nil, Damagef("restore point %s: its parent %s is not on record", point.ID, point.Parent)
		}
		if err != nil {
			return nil, err
		}
		list, point = append(list, parent), parent
	}
	return list, nil
}

// Ancestors lists all that a restore point is based on, the newest first. A full backup has none.
func (c *Chains) Ancestors(b record.Backup) ([]record.Backup, error) {
	points, err := c.Points(b)
	if err != nil {
		return nil, err
	}
	return points[1:], nil
}

// Finding tells damage from a failure to read: it returns a *Damage or err itself; nil for nil. What a program reports about a file that
// it could read is damage. An error of the system, returned in place of the content, is not.
func Finding(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, repository.ErrMidMerge) {
		return err // it can be read again in a moment
	}
	var tool *qemu.ToolError
	var changed *repository.Changed
	if errors.As(err, &changed) || errors.Is(err, qcow2.ErrCutShort) {
		return &Damage{Err: err, Readable: true}
	}
	for _, found := range []error{
		qemu.ErrCorrupt, qcow2.ErrNotQcow2, qcow2.ErrExternalData, repository.ErrNoManifest, fs.ErrNotExist,
		syscall.ELOOP, // a symbolic link in place of an image: it is never followed
	} {
		if errors.Is(err, found) && !(errors.As(err, &tool) && tool.ExitCode < 0) {
			return &Damage{Err: err}
		}
	}
	if errors.As(err, &tool) {
		if tool.ExitCode <= 0 || errors.Is(err, qemu.ErrImageInUse) || systemSays(tool.Stderr) {
			return err
		}
		return &Damage{Err: err}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &Damage{Err: err}
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
