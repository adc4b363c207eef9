package storage

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/nbd/iomode"
)

// A place is the directory of a backup: the safe names of its VM and of itself.
type place struct{ VM, ID string }

// A sealed is a manifest with the directory that it belongs in.
type sealed struct {
	VM       string
	Manifest manifest.Manifest
	Linked   []string `json:",omitempty"`
}

type looked struct {
	place
	Disk manifest.Disk
}

// An imageFile is an image in the directory of a backup.
type imageFile struct {
	place
	File string
}

// A reading is a file that is read whole.
type reading struct {
	place
	File  string
	Limit ReadLimit
}

// A ReadLimit is how fast files are read.
type ReadLimit struct {
	BytesPerSecond int64 // 0: no limit
	Shared         bool  // by all that are read in the same repository with the same number
}

type catalog struct {
	Points   []repository.Found
	Problems []problem
}

// A problem is a repository.Problem.
type problem struct {
	Path  string
	Error *Failure
}

type ioMode struct {
	Mode   iomode.Mode
	Reason string
}

var (
	opMakeDir = act("making the directory of a backup", changes, func(f *Files, a place) error { return f.repo.MakeDir(a.VM, a.ID) })
	opExists  = declare("looking for the directory of a backup", reads, func(_ context.Context, f *Files, a place) (bool, error) {
		return f.repo.Exists(a.VM, a.ID)
	})
	opManifest = declare("reading a manifest", reads, func(_ context.Context, f *Files, a place) (manifest.Manifest, error) {
		return f.repo.Manifest(a.VM, a.ID)
	})
	opPublish        = act("writing a manifest", endless, func(f *Files, a sealed) error { return f.repo.Publish(a.VM, a.Manifest) })
	opKeepSqueezed   = act("putting a squeezed image in place", changes, func(f *Files, a imageFile) error { return f.repo.KeepSqueezed(a.VM, a.ID, a.File) })
	opDropSqueezed   = act("removing a squeezed image", changes, func(f *Files, a imageFile) error { return f.repo.DropSqueezed(a.VM, a.ID, a.File) })
	opShare          = act("sharing a restore point", changes, func(f *Files, a sealed) error { return f.repo.Share(a.VM, a.Manifest) })
	opLookAt         = act("looking at an image", reads, func(f *Files, a looked) error { return f.repo.LookAt(a.VM, a.ID, a.Disk) })
	opRemoveDir      = act("removing the directory of a backup", changes, func(f *Files, a place) error { return f.repo.RemoveDir(a.VM, a.ID) })
	opRemovePoint    = act("removing a restore point", changes, func(f *Files, a place) error { return f.repo.RemovePoint(a.VM, a.ID) })
	opRemoveEmptyDir = act("removing an empty directory", changes, func(f *Files, a place) error { return f.repo.RemoveEmptyDir(a.VM, a.ID) })
	opSetAside       = declare("keeping what a failed backup left", changes, func(_ context.Context, f *Files, a place) (string, error) {
		return f.repo.SetAside(a.VM, a.ID)
	})
	opRemoveAside = act("removing what a failed backup left", changes, func(f *Files, a place) error { return f.repo.RemoveAside(a.VM, a.ID) })

	opMakeMerge   = act("making the directory of a merge", changes, func(f *Files, a place) error { return f.repo.MakeMerge(a.VM, a.ID) })
	opSealMerge   = act("completing the directory of a merge", endless, func(f *Files, a sealed) error { return f.repo.SealMerge(a.VM, a.Manifest, a.Linked) })
	opCommitMerge = act("committing a merge", changes, func(f *Files, a sealed) error { return f.repo.CommitMerge(a.VM, a.Manifest) })
	opFinishMerge = act("finishing a merge", changes, func(f *Files, a place) error { return f.repo.FinishMerge(a.VM, a.ID) })
	opSyncVM      = act("syncing the directory of a vm", changes, func(f *Files, vm string) error { return f.repo.SyncVM(vm) })
	opRemoveMerge = act("removing the directory of a merge", changes, func(f *Files, a place) error { return f.repo.RemoveMerge(a.VM, a.ID) })

	opMakeScratch   = act("making the directory of a restore", changes, func(f *Files, id string) error { return f.repo.MakeScratch(id) })
	opRemoveScratch = act("removing the directory of a restore", changes, func(f *Files, id string) error { return f.repo.RemoveScratch(id) })
	opCloseScratch  = act("removing the directory of all restores", changes, func(f *Files, _ none) error { return f.repo.CloseScratch() })
	opScratch       = declare("listing the directories of restores", reads, func(_ context.Context, f *Files, _ none) ([]string, error) { return f.repo.Scratch() })

	opVMs         = declare("listing the directories of vms", reads, func(_ context.Context, f *Files, _ none) ([]string, error) { return f.repo.VMs() })
	opNames       = declare("listing the directories of a vm", reads, func(_ context.Context, f *Files, vm string) ([]string, error) { return f.repo.Names(vm) })
	opOnlyFiles   = declare("looking at a directory without backups", reads, func(_ context.Context, f *Files, vm string) (bool, error) { return f.repo.OnlyFiles(vm) })
	opUnpublished = declare("listing the directories without a manifest", endless, func(_ context.Context, f *Files, _ none) ([]repository.Entry, error) { return f.repo.Unpublished() })
	opMerges      = declare("listing the directories of merges", endless, func(_ context.Context, f *Files, _ none) ([]repository.Entry, error) { return f.repo.Merges() })
	opPoints      = declare("reading every manifest", endless, func(_ context.Context, f *Files, _ none) (catalog, error) {
		points, problems, err := f.repo.Points()
		c := catalog{Points: points}
		for _, p := range problems {
			c.Problems = append(c.Problems, problem{Path: p.Path, Error: failure(p.Err)})
		}
		return c, err
	})

	opUsage = declare("measuring a restore point", reads, func(_ context.Context, f *Files, a place) (int64, error) { return f.repo.Usage(a.VM, a.ID) })
	opSpace = declare("asking for the free space", reads, func(_ context.Context, f *Files, _ none) (repository.Space, error) { return f.repo.Space() })
	opEmpty = declare("listing the directory", reads, func(_ context.Context, f *Files, _ none) (bool, error) { return f.repo.Empty() })
	opStat  = declare("looking at a file", reads, func(_ context.Context, _ *Files, path string) (FileInfo, error) { return stat(path) })
	opRoot  = declare("looking at its directory", reads, func(_ context.Context, f *Files, _ none) (root, error) { return lookAtRoot(f.spec.Path) })
	opIO    = declare("finding the I/O mode", changes, func(_ context.Context, f *Files, _ none) (ioMode, error) {
		mode, reason, err := f.repo.DetectIO()
		return ioMode{mode, reason}, err
	})

	opDigest = declare("reading an image", endless, func(ctx context.Context, f *Files, a reading) (digest.Digest, error) {
		return f.repo.Digest(ctx, a.VM, a.ID, a.File, f.digestOptions(ctx, a))
	})
	opDigestMerge = declare("reading an image of a merge", endless, func(ctx context.Context, f *Files, a reading) (digest.Digest, error) {
		return f.repo.DigestMerge(ctx, a.VM, a.ID, a.File, f.digestOptions(ctx, a))
	})
)

func (f *Files) digestOptions(ctx context.Context, a reading) digest.Options {
	return digest.Options{Limit: f.limiter(a.Limit), Progress: func(bytes, read int64) { moved(ctx, Movement{Bytes: bytes, Read: read}) }}
}

// FileInfo describes a file or directory; a symbolic link is described itself.
type FileInfo struct {
	Bytes, AllocatedBytes int64
	Directory             bool
	Device, Inode         uint64
	ChangedAt             time.Time
}

// A root describes the directory of the repository, where its path leads to.
type root struct {
	Mode   fs.FileMode
	Access *Failure // why it cannot be written
}

func lookAtRoot(path string) (root, error) {
	info, err := os.Stat(path)
	if err != nil {
		return root{}, err
	}
	return root{Mode: info.Mode(), Access: failure(unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK|unix.X_OK, unix.AT_EACCESS))}, nil
}

func stat(path string) (FileInfo, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return FileInfo{}, err
	}
	s := info.Sys().(*syscall.Stat_t)
	return FileInfo{Bytes: s.Size, AllocatedBytes: s.Blocks * 512, Directory: info.IsDir(), Device: s.Dev, Inode: s.Ino, ChangedAt: info.ModTime()}, nil
}

// Dir is the absolute path of a backup's directory.
func (r *Repository) Dir(vm, backupID string) string { return filepath.Join(r.Path, vm, backupID) }

// MergeDir is the absolute path of the directory of a merge.
func (r *Repository) MergeDir(vm, backupID string) string {
	return repository.MergeDir(r.Path, vm, backupID)
}

// ScratchDir is the absolute path of the directory that holds the overlays of a restore.
func (r *Repository) ScratchDir(restoreID string) string {
	return repository.ScratchDir(r.Path, restoreID)
}

// What follows are the methods of repository.Repository, which has their documentation.

func (r *Repository) MakeDir(ctx context.Context, vm, backupID string) error {
	return opMakeDir.tell(ctx, r, place{vm, backupID})
}

func (r *Repository) Exists(ctx context.Context, vm, backupID string) (bool, error) {
	return opExists.of(ctx, r, place{vm, backupID})
}

func (r *Repository) Manifest(ctx context.Context, vm, backupID string) (manifest.Manifest, error) {
	return opManifest.of(ctx, r, place{vm, backupID})
}

func (r *Repository) Publish(ctx context.Context, vm string, m manifest.Manifest) error {
	return opPublish.tell(ctx, r, sealed{VM: vm, Manifest: m})
}

func (r *Repository) Share(ctx context.Context, vm string, m manifest.Manifest) error {
	return opShare.tell(ctx, r, sealed{VM: vm, Manifest: m})
}

func (r *Repository) LookAt(ctx context.Context, vm, backupID string, d manifest.Disk) error {
	return opLookAt.tell(ctx, r, looked{place{vm, backupID}, d})
}

func (r *Repository) RemoveDir(ctx context.Context, vm, backupID string) error {
	return opRemoveDir.tell(ctx, r, place{vm, backupID})
}

func (r *Repository) RemovePoint(ctx context.Context, vm, backupID string) error {
	return opRemovePoint.tell(ctx, r, place{vm, backupID})
}

func (r *Repository) RemoveEmptyDir(ctx context.Context, vm, backupID string) error {
	return opRemoveEmptyDir.tell(ctx, r, place{vm, backupID})
}

func (r *Repository) SetAside(ctx context.Context, vm, backupID string) (path string, err error) {
	return opSetAside.of(ctx, r, place{vm, backupID})
}

func (r *Repository) RemoveAside(ctx context.Context, vm, backupID string) error {
	return opRemoveAside.tell(ctx, r, place{vm, backupID})
}

func (r *Repository) MakeMerge(ctx context.Context, vm, backupID string) error {
	return opMakeMerge.tell(ctx, r, place{vm, backupID})
}

func (r *Repository) SealMerge(ctx context.Context, vm string, m manifest.Manifest, linked []string) error {
	return opSealMerge.tell(ctx, r, sealed{VM: vm, Manifest: m, Linked: linked})
}

func (r *Repository) CommitMerge(ctx context.Context, vm string, m manifest.Manifest) error {
	return opCommitMerge.tell(ctx, r, sealed{VM: vm, Manifest: m})
}

func (r *Repository) FinishMerge(ctx context.Context, vm, backupID string) error {
	return opFinishMerge.tell(ctx, r, place{vm, backupID})
}

func (r *Repository) SyncVM(ctx context.Context, vm string) error { return opSyncVM.tell(ctx, r, vm) }

func (r *Repository) RemoveMerge(ctx context.Context, vm, backupID string) error {
	return opRemoveMerge.tell(ctx, r, place{vm, backupID})
}

func (r *Repository) MakeScratch(ctx context.Context, restoreID string) error {
	return opMakeScratch.tell(ctx, r, restoreID)
}

func (r *Repository) RemoveScratch(ctx context.Context, restoreID string) error {
	return opRemoveScratch.tell(ctx, r, restoreID)
}

func (r *Repository) CloseScratch(ctx context.Context) error {
	return opCloseScratch.tell(ctx, r, none{})
}

func (r *Repository) Scratch(ctx context.Context) ([]string, error) {
	return opScratch.of(ctx, r, none{})
}

func (r *Repository) VMs(ctx context.Context) ([]string, error) { return opVMs.of(ctx, r, none{}) }

func (r *Repository) Names(ctx context.Context, vm string) ([]string, error) {
	return opNames.of(ctx, r, vm)
}

func (r *Repository) OnlyFiles(ctx context.Context, vm string) (bool, error) {
	return opOnlyFiles.of(ctx, r, vm)
}

func (r *Repository) Unpublished(ctx context.Context) ([]repository.Entry, error) {
	return opUnpublished.of(ctx, r, none{})
}

func (r *Repository) Merges(ctx context.Context) ([]repository.Entry, error) {
	return opMerges.of(ctx, r, none{})
}

func (r *Repository) Points(ctx context.Context) ([]repository.Found, []repository.Problem, error) {
	c, err := opPoints.of(ctx, r, none{})
	var problems []repository.Problem
	for _, p := range c.Problems {
		problems = append(problems, repository.Problem{Path: p.Path, Err: p.Error.err()})
	}
	return c.Points, problems, err
}

func (r *Repository) Usage(ctx context.Context, vm, backupID string) (int64, error) {
	return opUsage.of(ctx, r, place{vm, backupID})
}

func (r *Repository) Space(ctx context.Context) (repository.Space, error) {
	return opSpace.of(ctx, r, none{})
}

// Mounted fails if the repository is not mounted: an empty directory is taken for the mount point of a network file system.
func (r *Repository) Mounted(ctx context.Context) error {
	empty, err := opEmpty.of(ctx, r, none{})
	if err == nil && empty {
		err = fmt.Errorf("repository %s: %s %w", r.ID, r.Path, repository.ErrEmpty)
	}
	return err
}

// Stat describes a file or directory by its absolute path.
func (r *Repository) Stat(ctx context.Context, path string) (FileInfo, error) {
	return opStat.of(ctx, r, path)
}

// Root returns the mode of the directory of the repository, where its path leads to, and why its process may not write there; nil if it
// may.
func (r *Repository) Root(ctx context.Context) (mode fs.FileMode, access, err error) {
	found, err := opRoot.of(ctx, r, none{})
	return found.Mode, found.Access.err(), err
}

func (i Images) DetectIO(ctx context.Context) (mode iomode.Mode, reason string, err error) {
	found, err := opIO.of(ctx, i.repository, none{})
	return found.Mode, found.Reason, err
}

// Digest returns the digest of an image. progress, which may be nil, gets the number of bytes that were read since the last call.
func (r *Repository) Digest(ctx context.Context, vm, backupID, file string, limit ReadLimit, progress func(Movement)) (digest.Digest, error) {
	return opDigest.ask(ctx, r, reading{place{vm, backupID}, file, limit}, progress)
}

func (r *Repository) DigestMerge(ctx context.Context, vm, backupID, file string) (digest.Digest, error) {
	return opDigestMerge.of(ctx, r, reading{place{vm, backupID}, file, ReadLimit{}})
}
