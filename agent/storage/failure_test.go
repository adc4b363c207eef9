package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
	"github.com/sendense/backup-agent/agent/repository/overlap"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// carry sends an error as the process does.
func carry(t *testing.T, err error) error {
	t.Helper()
	text, failed := json.Marshal(failure(err))
	must(t, failed)
	var f *Failure
	must(t, json.Unmarshal(text, &f))
	return f.err()
}

// TestErrors: an error says the same in the other process, and errors.Is and errors.As find the same in it.
func TestErrors(t *testing.T) {
	path := &fs.PathError{Op: "open", Path: "/r/é \x01", Err: unix.ENOSPC}
	for _, err := range []error{
		errors.New("plain"), unix.EROFS, path, fmt.Errorf("repository main: %w", path),
		fmt.Errorf("a: %w; b: %w", repository.ErrNoManifest, qemu.ErrWrongKey), errors.Join(path, nil, context.Canceled),
		&qemu.ToolError{Verb: "check", Path: "/r/a", ExitCode: 2, Stderr: "x", Err: fmt.Errorf("%w: 3 corruptions", qemu.ErrCorrupt)},
		&qemu.ToolError{Verb: "check", Path: "/r/a", ExitCode: -1, Err: &exec.Error{Name: "qemu-img", Err: exec.ErrNotFound}},
		&repository.Changed{Path: "/r/a", How: "has changed"}, &os.LinkError{Op: "rename", Old: "a", New: "b", Err: syscall.EXDEV},
		&overlap.Error{A: overlap.Place{Name: "a", Path: "/a"}, B: overlap.Place{Name: "b", Path: "/b"}, How: "inside"},
		&overlap.Unknown{Identity: overlap.Identity{Inode: overlap.Inode{Dev: 1, Ino: 1 << 63}, Above: []overlap.Inode{{Dev: 2, Ino: 3}}, Location: overlap.Location{Device: "8:1", Path: "/x"}}},
		fmt.Errorf("no files left: %w", fs.ErrNotExist),
	} {
		got := carry(t, err)
		if got.Error() != err.Error() {
			t.Errorf("%q became %q", err, got)
		}
		for name, e := range known {
			if errors.Is(got, e) != errors.Is(err, e) {
				t.Errorf("%q: is %s: %v, was %v", err, name, errors.Is(got, e), errors.Is(err, e))
			}
		}
		for _, e := range []syscall.Errno{unix.ENOSPC, unix.EROFS, unix.EXDEV, unix.EIO} {
			if errors.Is(got, e) != errors.Is(err, e) {
				t.Errorf("%q: is %v: %v", err, e, errors.Is(got, e))
			}
		}
		same[*fs.PathError](t, err, got, func(a, b *fs.PathError) bool { return a.Op == b.Op && a.Path == b.Path })
		same[*qemu.ToolError](t, err, got, func(a, b *qemu.ToolError) bool { return a.ExitCode == b.ExitCode && a.Stderr == b.Stderr })
		same[*repository.Changed](t, err, got, func(a, b *repository.Changed) bool { return *a == *b })
		same[*overlap.Error](t, err, got, func(a, b *overlap.Error) bool { return *a == *b })
		same[*overlap.Unknown](t, err, got, func(a, b *overlap.Unknown) bool { return reflect.DeepEqual(a, b) })
	}
	if carry(t, nil) != nil {
		t.Error("nil became an error")
	}
}

func same[E error](t *testing.T, before, after error, equal func(a, b E) bool) {
	t.Helper()
	var a, b E
	if was, is := errors.As(before, &a), errors.As(after, &b); was != is || was && !equal(a, b) {
		t.Errorf("%q: as %T: %v %+v, was %v %+v", before, a, is, b, was, a)
	}
}

// TestKnownErrors: every error that a package below declares for comparisons can be compared here too.
func TestKnownErrors(t *testing.T) {
	for _, dir := range []string{"../repository", "../repository/manifest", "../digest", "../../nbd/qemu", "../../nbd/qcow2"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			must(t, err)
			for name := range parsed.Scope.Objects {
				if parsed.Scope.Objects[name].Kind == ast.Var && strings.HasPrefix(name, "Err") && known[filepath.Base(dir)+"."+name] == nil {
					t.Errorf("%s declares %s, which is not among the known errors", dir, name)
				}
			}
		}
	}
}

// TestManifestOnItsWay: a manifest is the same after it was sent, also what is zero in it.
func TestManifestOnItsWay(t *testing.T) {
	m := manifesttest.Incremental(manifesttest.Full("vm", 0), 1)
	text, err := encode("x", m)
	must(t, err)
	got := m
	must(t, decode("x", text, &got))
	a, err := m.Encode()
	must(t, err)
	b, err := got.Encode()
	must(t, err)
	if string(a) != string(b) {
		t.Errorf("%s\nbecame\n%s", a, b)
	}
}

// TestKeyIsNotPrinted: the key of a request is in no text that is made of it.
func TestKeyIsNotPrinted(t *testing.T) {
	secret, err := qemu.NewSecret([]byte(strings.Repeat("secretsecret", 4)))
	must(t, err)
	a := created{Spec: qemu.ImageSpec{Path: "/r/a"}, Key: secret.Reveal()}
	if text := fmt.Sprintf("%v %+v %#v %s", a, a, a, a.Key); strings.Contains(text, "secretsecret") {
		t.Errorf("%s", text)
	}
	text, err := encode("x", a)
	must(t, err)
	var got created
	must(t, decode("x", text, &got))
	if got.Key.Secret() != secret {
		t.Error("the key is not the same after it was sent")
	}
}
