package storage

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/overlap"
	"github.com/sendense/backup-agent/nbd/qcow2"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// A Failure is an error on its way from one process to the other. errors.Is and errors.As find in it what they found before: the errors
// of the list below, error numbers, and the types that Failure names.
type Failure struct {
	Text   string          `json:"text"`
	Name   string          `json:"name,omitempty"`  // in known
	Errno  syscall.Errno   `json:"errno,omitempty"` // 0: none
	Type   string          `json:"type,omitempty"`  // of Value
	Value  json.RawMessage `json:"value,omitempty"`
	Causes []*Failure      `json:"causes,omitempty"`
}

// known are the errors that callers compare with, by name. A test compares the list with the packages that declare them.
var known = map[string]error{
	"repository.ErrEmpty": repository.ErrEmpty, "repository.ErrMidMerge": repository.ErrMidMerge,
	"repository.ErrNoManifest": repository.ErrNoManifest, "repository.ErrNoRoom": repository.ErrNoRoom, "repository.ErrRestorePoint": repository.ErrRestorePoint,
	"manifest.ErrSeal": manifest.ErrSeal,
	"qemu.ErrCorrupt":  qemu.ErrCorrupt, "qemu.ErrDiffers": qemu.ErrDiffers, "qemu.ErrWrongKey": qemu.ErrWrongKey,
	"qemu.ErrNotEncrypted": qemu.ErrNotEncrypted, "qemu.ErrKeyNeeded": qemu.ErrKeyNeeded, "qemu.ErrImageInUse": qemu.ErrImageInUse,
	"qemu.ErrTooLarge":  qemu.ErrTooLarge,
	"qcow2.ErrCutShort": qcow2.ErrCutShort, "qcow2.ErrNotQcow2": qcow2.ErrNotQcow2, "qcow2.ErrExternalData": qcow2.ErrExternalData,
	"digest.ErrDiffers": digest.ErrDiffers, "digest.ErrChanged": digest.ErrChanged,
	"fs.ErrNotExist": fs.ErrNotExist, "fs.ErrExist": fs.ErrExist, "fs.ErrPermission": fs.ErrPermission, "fs.ErrInvalid": fs.ErrInvalid,
	"fs.ErrClosed": fs.ErrClosed, "exec.ErrNotFound": exec.ErrNotFound, "io.EOF": io.EOF, "io.ErrUnexpectedEOF": io.ErrUnexpectedEOF,
	"context.Canceled": context.Canceled, "context.DeadlineExceeded": context.DeadlineExceeded,
	"os.ErrDeadlineExceeded": os.ErrDeadlineExceeded, "os.ErrProcessDone": os.ErrProcessDone,
}

// failure describes an error; nil for nil.
func failure(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{Text: err.Error()}
	for name, e := range known {
		if err == e { //nolint:errorlint // this very error, not what it wraps
			f.Name = name
			return f
		}
	}
	f.describe(err)
	switch e := err.(type) { //nolint:errorlint // each level is described by itself
	case interface{ Unwrap() error }:
		f.add(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, cause := range e.Unwrap() {
			f.add(cause)
		}
	}
	return f
}

func (f *Failure) add(cause error) {
	if cause != nil {
		f.Causes = append(f.Causes, failure(cause))
	}
}

// describe adds what errors.As needs to find the type of an error.
func (f *Failure) describe(err error) {
	var value any
	switch e := err.(type) { //nolint:errorlint // this very error
	case syscall.Errno:
		f.Errno = e
		return
	case *fs.PathError:
		f.Type, value = "path", fs.PathError{Op: e.Op, Path: e.Path}
	case *exec.Error:
		f.Type, value = "program", exec.Error{Name: e.Name}
	case *qemu.ToolError:
		f.Type, value = "tool", qemu.ToolError{Verb: e.Verb, Path: e.Path, ExitCode: e.ExitCode, Stderr: e.Stderr}
	case *repository.Changed:
		f.Type, value = "changed", e
	case *overlap.Error:
		f.Type, value = "overlap", e
	case *overlap.Unknown:
		f.Type, value = "unknown", e
	default:
		return
	}
	var failed error
	if f.Value, failed = json.Marshal(value); failed != nil {
		f.Type = ""
	}
}

// err returns the error that f describes; nil for nil.
func (f *Failure) err() error {
	if f == nil {
		return nil
	}
	if e, found := known[f.Name]; found {
		return e
	}
	if f.Errno != 0 {
		return f.Errno
	}
	causes := make([]error, len(f.Causes))
	for i, c := range f.Causes {
		causes[i] = c.err()
	}
	var cause error
	if len(causes) == 1 {
		cause = causes[0]
	} else if len(causes) > 1 {
		cause = errors.Join(causes...)
	}
	if e := f.typed(cause); e != nil {
		return e
	}
	return &carried{text: f.Text, causes: causes}
}

// typed returns the error of a named type; nil if there is none.
func (f *Failure) typed(cause error) error {
	switch f.Type {
	case "path":
		e := &fs.PathError{}
		if json.Unmarshal(f.Value, e) == nil && cause != nil {
			e.Err = cause
			return e
		}
	case "program":
		e := &exec.Error{}
		if json.Unmarshal(f.Value, e) == nil && cause != nil {
			e.Err = cause
			return e
		}
	case "tool":
		e := &qemu.ToolError{}
		if json.Unmarshal(f.Value, e) == nil {
			e.Err = cause
			return e
		}
	case "changed":
		return unmarshalled(f.Value, &repository.Changed{})
	case "overlap":
		return unmarshalled(f.Value, &overlap.Error{})
	case "unknown":
		return unmarshalled(f.Value, &overlap.Unknown{})
	}
	return nil
}

func unmarshalled[E error](text []byte, e E) error {
	if json.Unmarshal(text, e) != nil {
		return nil
	}
	return e
}

// carried is an error of the other process that has no type of its own here.
type carried struct {
	text   string
	causes []error
}

func (e *carried) Error() string   { return e.text }
func (e *carried) Unwrap() []error { return e.causes }
