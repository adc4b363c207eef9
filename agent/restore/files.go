package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/units"
	"github.com/sendense/backup-agent/units/pair"
)

// ReadFiles is the command of the agent's executable that reads files (cmd/sendense-agent/readfiles.go).
const ReadFiles = "read-files"

// What the reader of a disk's files may use. Its appliance has 768 MiB, of which little is used, and is made anew in the
// scratch space, where it takes 400 MiB: nothing that one reader writes is ever read by another.
const (
	readerMemory  = 2 << 30
	readerScratch = 1 << 30
	readerTasks   = 128
	readerIdle    = time.Minute
	// readerStart bounds the start of the appliance, which is tried with KVM and then without (cmd/sendense-agent/filereader).
	readerStart = 20 * time.Minute
	readerStop  = 10 * time.Second
)

// checkFiles looks whether files can be read as it is asked.
func (s *Service) checkFiles(req Request, disks []record.RestoreDisk) error {
	switch {
	case !req.Files:
		return nil
	case len(disks) != 1:
		e := fault.New(fault.InvalidRequest, "files are read from one disk, not from %d", len(disks))
		e.BackupID, e.Hint = req.BackupID, "name one disk in disks"
		return e
	case req.Writable:
		return fault.New(fault.InvalidRequest, "writable and files exclude each other: files are read-only")
	}
	_, err := os.Stat(s.Config.Restore.Guestfish)
	if errors.Is(err, fs.ErrNotExist) {
		e := fault.New(fault.ReaderMissing, "files cannot be read: %s is not installed on the hub", s.Config.Restore.Guestfish)
		e.BackupID, e.Hint = req.BackupID, GuestfishHint
		return e
	}
	return nil
}

// GuestfishHint says what to do where guestfish is missing.
const GuestfishHint = "install the package libguestfs-tools (Debian also: libguestfs-xfs, and a linux-image; Red Hat: guestfs-tools), or set restore.guestfish"

// nameReader says where the files of a restore will be read.
func (s *Service) nameReader(r *record.Restore, l record.Lease) {
	r.Files = &record.RestoreFiles{
		Socket: filepath.Join(filepath.Dir(s.Config.Agent.Socket), "files-"+l.Nonce+".sock"),
		Unit:   export.UnitName(r.ID, l.DiskID, "files-"+l.Nonce),
	}
}

// startReader starts the reader of a disk that is served, and returns the name of its life when it can be asked.
func (x *restoration) startReader(r record.Restore, d record.RestoreDisk) (string, error) {
	u, err := x.service.Units.Start(x.Ctx, x.readerSpec(r, d))
	if err != nil {
		return "", x.readerError(d.DiskID, r.Files.Unit, fmt.Errorf("reader of the files: %w", err))
	}
	return u.InvocationID, nil
}

func (x *restoration) readerError(disk int, unit string, err error) error {
	e := export.UnitError(fault.ReaderFailed, "restore "+x.ID, disk, unit, err)
	e.RestoreID = x.ID
	if e.Hint == "" {
		e.Hint = "read the journal of the unit; " + GuestfishHint
	}
	return e
}

// readerSpec is the unit pair of a reader: it sees no repository, no state, and nothing that listens, but for the export.
func (x *restoration) readerSpec(r record.Restore, d record.RestoreDisk) pair.Spec {
	cfg := x.service.Config
	spec := pair.Spec{
		Name:        r.Files.Unit,
		Description: fmt.Sprintf("Reader of the files of disk %d of backup %s for restore %s", d.DiskID, r.BackupID, r.ID),
		Argv: []string{
			x.service.Program, ReadFiles, "--guestfish=" + cfg.Restore.Guestfish, "--export=" + d.URL, "--dir=/var/tmp", "--idle=" + readerIdle.String(),
		},
		User:          cfg.Restore.ReaderUser,
		ListenAddress: r.Files.Socket,
		ListenGroup:   cfg.Agent.SocketGroup,
		ReadOnlyDirs:  []string{x.service.Program}, // wherever it lies
		StartTimeout:  readerStart,
		StopTimeout:   readerStop,
		Guest: &pair.Guest{
			MemoryBytes: readerMemory, ScratchBytes: readerScratch, Tasks: readerTasks, Lifetime: cfg.Restore.MaxLifetime.Std(),
		},
	}
	if cfg.Agent.Bus == config.BusUser {
		spec.User, spec.ListenGroup = "", ""
	}
	for _, repo := range x.service.Repositories.All {
		spec.HiddenDirs = append(spec.HiddenDirs, repo.Path)
	}
	return spec
}

// checkReader ends a restore whose files nobody reads any more, and fails one whose reader died.
func (x *restoration) checkReader(ctx context.Context, r record.Restore, loaded map[string]units.Unit) error {
	f := r.Files
	if f == nil {
		return nil
	}
	u, there := loaded[f.Unit]
	var how error
	switch {
	case !there:
		how = errors.New("its unit is gone")
	case u.InvocationID != f.InvocationID:
		how = errors.New("its unit was replaced")
	case u.Running():
		return nil
	case u.Clean():
		return errUnread
	default:
		how = fmt.Errorf("it ended while files were being read: result %s, exit status %d", export.ResultOf(u), u.ExecMainStatus)
	}
	e := fault.From(x.readerError(r.Disks[0].DiskID, f.Unit, fmt.Errorf("reader of the files: %w", how)))
	var err error
	if e.Journal, err = x.service.Units.Journal(ctx, f.Unit, export.JournalLines); err != nil {
		e.Journal = []string{"(the journal cannot be read: " + err.Error() + ")"}
	}
	return e
}
