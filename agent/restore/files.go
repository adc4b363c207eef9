package restore

import (
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

// Limits of the reader of a disk's files. Its appliance has 768 MiB of memory and uses little of it. It is built again for each
// reader, in the scratch space, where it takes 400 MiB: no reader reads what another one wrote.
const (
	readerMemory  = 2 << 30
	readerScratch = 1 << 30
	readerTasks   = 128
	readerIdle    = time.Minute
	// readerStart limits the start of the appliance, which is tried with KVM and then without (cmd/sendense-agent/filereader).
	readerStart = 20 * time.Minute
	readerStop  = 10 * time.Second
)

// checkFiles checks whether files can be read as requested.
func (s *Service) checkFiles(req Request, disks []record.RestoreDisk) error {
	switch {
	case !req.Files:
		return nil
	case len(disks) != 1:
		return fault.New(fault.InvalidRequest, "files are read from one disk, not from %d", len(disks)).OfBackup(req.BackupID).
			WithHint("name one disk in disks")
	case req.Writable:
		return fault.New(fault.InvalidRequest, "writable and files exclude each other: files are read-only")
	}
	_, err := os.Stat(s.Config.Restore.Guestfish)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.ReaderMissing, "files cannot be read: %s is not installed on the hub", s.Config.Restore.Guestfish).OfBackup(req.BackupID).
			WithHint(GuestfishHint)
	}
	return nil
}

// GuestfishHint says what to do if guestfish is missing.
const GuestfishHint = "install the package sendense-agent-files, or the programs by themselves " +
	"(apt install --no-install-recommends guestfish libguestfs-xfs; dnf install /usr/bin/guestfish libguestfs-xfs), or set restore.guestfish"

// nameReader sets the socket and the unit of the reader of a restore's files.
func (s *Service) nameReader(r *record.Restore, l record.Lease) {
	r.Files = &record.RestoreFiles{
		Socket: filepath.Join(filepath.Dir(s.Config.Agent.Socket), "files-"+l.Nonce+".sock"),
		Unit:   export.UnitName(r.ID, l.DiskID, "files-"+l.Nonce),
	}
}

// startReader starts the reader of a served disk. When the reader can be asked, it returns the invocation id of its unit.
func (j *restoreJob) startReader(r record.Restore, d record.RestoreDisk) (string, error) {
	u, err := j.service.Units.Start(j.Ctx, j.readerSpec(r, d))
	if err != nil {
		return "", j.readerError(d.DiskID, r.Files.Unit, fmt.Errorf("reader of the files: %w", err))
	}
	return u.InvocationID, nil
}

func (j *restoreJob) readerError(disk int, unit string, err error) *fault.Error {
	e := export.UnitError(&j.Job, fault.ReaderFailed, disk, unit, err)
	if e.Hint == "" {
		e.Hint = "read the journal of the unit; " + GuestfishHint
	}
	return e
}

// readerSpec is the unit pair of a reader. The reader sees no repository, no state of the agent, and no listening socket except the
// export.
func (j *restoreJob) readerSpec(r record.Restore, d record.RestoreDisk) pair.Spec {
	cfg := j.service.Config
	spec := pair.Spec{
		Name:        r.Files.Unit,
		Description: fmt.Sprintf("Reader of the files of disk %d of backup %s for restore %s", d.DiskID, r.BackupID, r.ID),
		Argv: []string{
			j.service.Program, ReadFiles, "--guestfish=" + cfg.Restore.Guestfish, "--export=" + d.URL, "--dir=/var/tmp", "--idle=" + readerIdle.String(),
		},
		User:          cfg.Restore.ReaderUser,
		ListenAddress: r.Files.Socket,
		ListenGroup:   cfg.Agent.SocketGroup,
		ReadOnlyDirs:  []string{j.service.Program}, // at any path
		StartTimeout:  readerStart,
		StopTimeout:   readerStop,
		Guest: &pair.Guest{
			MemoryBytes: readerMemory, ScratchBytes: readerScratch, Tasks: readerTasks, Lifetime: cfg.Restore.MaxLifetime.Std(),
		},
	}
	if cfg.Agent.Bus == config.BusUser {
		spec.User, spec.ListenGroup = "", ""
	}
	for _, repo := range j.service.Repositories.All {
		spec.HiddenDirs = append(spec.HiddenDirs, repo.Path)
	}
	return spec
}

// checkReader ends a restore whose files no client reads any more, and fails one whose reader died.
func (j *restoreJob) checkReader(r record.Restore, loaded map[string]units.Unit) error {
	f := r.Files
	if f == nil {
		return nil
	}
	_, how := export.Ending(loaded, f.Unit, f.InvocationID, "while files were being read")
	u := loaded[f.Unit]
	switch {
	case how == "":
		return nil
	case u.InvocationID == f.InvocationID && u.Clean():
		return errUnread
	}
	e := j.readerError(r.Disks[0].DiskID, f.Unit, fmt.Errorf("reader of the files: %s", how))
	return j.service.Exports.WithJournal(j.Ctx, e, f.Unit)
}
