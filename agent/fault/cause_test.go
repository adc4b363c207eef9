package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/units"
)

// TestFromLearnsTheReason: an error that nobody has classified gets the reason that its cause tells.
func TestFromLearnsTheReason(t *testing.T) {
	noProgram := exec.Command("/none/qemu-img").Run()
	_, notFound := exec.LookPath("qemu-none")
	_, noFile := os.Open("/none")
	of := func(err error) error { return &storage.Error{Repository: "main", Err: err} }
	at := func(errno error) error { return &fs.PathError{Op: "open", Path: "/run/sendense/x", Err: errno} }
	for _, c := range []struct {
		err    error
		reason fault.Reason
		hint   string
	}{
		{errors.New("a bug"), fault.Internal, ""},
		{noFile, fault.Internal, ""},
		{units.ErrDisconnected, fault.SystemdFailed, "dbus.service"},
		{fmt.Errorf("%w: %w", units.ErrNoAnswer, context.DeadlineExceeded), fault.SystemdFailed, "dbus.service"},
		{&units.StartError{Unit: "u", Err: units.ErrDisconnected}, fault.SystemdFailed, "dbus.service"},
		{&units.StartError{Unit: "u", Program: "/none/qemu-nbd", ExitStatus: 203}, fault.ProgramMissing, "/none/qemu-nbd"},
		{noProgram, fault.ProgramMissing, "/none/qemu-img"},
		{notFound, fault.ProgramMissing, "qemu-none"},
		{of(noProgram), fault.ProgramMissing, "/none/qemu-img"},
		{of(unix.ENOSPC), fault.NoSpace, "free space in the repository"},
		{of(unix.EROFS), fault.RepositoryFailed, "writable"},
		{of(unix.EACCES), fault.RepositoryFailed, "no_root_squash"},
		{of(unix.ESTALE), fault.RepositoryFailed, "mount it again"},
		{of(unix.EIO), fault.RepositoryFailed, "kernel's log"},
		{of(noFile), fault.RepositoryFailed, "mounted"},
		{of(&storage.StuckError{Repository: "main"}), fault.RepositoryStuck, "findmnt"},
		{of(storage.ErrClosed), fault.ShuttingDown, "restart"},
		{&store.UnwritableError{Path: "/var/lib/x", Free: -1, Err: unix.EROFS}, fault.StateUnwritable, "read-only"},
		{at(unix.ENOSPC), fault.HostFailed, "/run/sendense/x"},
		{at(unix.EDQUOT), fault.HostFailed, "quota"},
		{at(unix.EROFS), fault.HostFailed, "writable"},
		{at(unix.EACCES), fault.HostFailed, "rights"},
		{at(unix.ESTALE), fault.HostFailed, "mount it again"},
		{at(unix.EIO), fault.HostFailed, "kernel's log"},
		{unix.ENOMEM, fault.HostFailed, "memory"},
		{at(unix.EMFILE), fault.HostFailed, "LimitNOFILE"},
		{context.DeadlineExceeded, fault.HostFailed, "load"},
		{os.ErrDeadlineExceeded, fault.HostFailed, "load"},
		{context.Canceled, fault.ShuttingDown, "ask again"},
		{fault.ErrStopping, fault.ShuttingDown, "restart"},
		{units.ErrClosed, fault.ShuttingDown, "restart"},
	} {
		e := fault.From(fmt.Errorf("backup b: %w", c.err))
		if e.Reason != c.reason || !strings.Contains(e.Hint, c.hint) || (e.Hint == "") != (c.hint == "") || !errors.Is(e, c.err) {
			t.Errorf("%v (%T): %s, hint %q; want %s, hint %q", c.err, c.err, e.Reason, e.Hint, c.reason, c.hint)
		}
	}
}

// TestCauseAndReason: which reasons a cause replaces, and that its hint stays.
func TestCauseAndReason(t *testing.T) {
	missing := exec.Command("/none/qemu-img").Run()
	for given, want := range map[fault.Reason]fault.Reason{
		fault.ImageFailed: fault.ProgramMissing, fault.ExporterFailed: fault.ProgramMissing, fault.RepositoryFailed: fault.ProgramMissing,
		fault.KeyUnavailable: fault.KeyUnavailable, fault.SNARefused: fault.SNARefused,
	} {
		if e := fault.New(given, "disk 0: %w", missing).WithHint("h"); e.Reason != want || (e.Hint == "h") != (given == want) {
			t.Errorf("%s: %s, hint %q", given, e.Reason, e.Hint)
		}
	}
	if e := fault.New(fault.ImageFailed, "disk 0: %w", unix.EIO); e.Reason != fault.ImageFailed {
		t.Errorf("an error of a disk under an image: %s", e.Reason)
	}
	disk := 3
	inner := fault.New(fault.KeyUnavailable, "no key").WithHint("give the key").OfDisk(disk)
	e := fault.New(fault.Internal, "restore r: %w", inner).WithHint("another")
	if e.Reason != fault.KeyUnavailable || e.Hint != "give the key" || e.Message != "restore r: no key" || e.DiskID == nil || *e.DiskID != disk {
		t.Errorf("an error that was classified before: %+v", e)
	}
}
