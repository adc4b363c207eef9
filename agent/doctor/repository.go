package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// leastInodes is how many inodes of a repository should be free.
const leastInodes = 1000

// repository checks one repository: its directory, its space, how it is written, its contents, and a trial of all that a backup
// does to it.
func (h *host) repository(ctx context.Context, r config.Repository) []Finding {
	found := h.liveRepository(ctx, r)
	if worst(found[:1]) == Error {
		return found
	}
	repo := h.repo(r)
	found = append(found, h.ioMode(ctx, r)...)
	points, problems, err := repo.Points(ctx)
	found = append(found, catalogFindings(repo, points, problems, err)...)
	keys := h.keyed(ctx, r, points)
	if found = append(found, keys...); worst(keys) == Error && r.EncryptionKey != "" {
		return append(found, one("data-path", r.ID).skip("not tried: there is no key", "resolve the findings of encryption")...)
	}
	return append(found, h.dataPath(ctx, r)...)
}

// liveRepository does the cheap checks only, for a running agent. It does not wait long for a dead file system.
func (h *host) liveRepository(ctx context.Context, r config.Repository) []Finding {
	return check{name: "repository", object: r.ID, timeout: statTimeout, look: func(ctx context.Context) []Finding {
		ctx = storage.FailFast(ctx)
		found := h.directory(ctx, r)
		if worst(found) == Error {
			return found
		}
		return append(found, h.space(ctx, h.repo(r))...)
	}}.run(ctx)
}

// statTimeout limits the first check of a repository.
const statTimeout = 10 * time.Second

func (h *host) directory(ctx context.Context, r config.Repository) []Finding {
	about := one("repository", r.ID)
	mode, access, err := h.repo(r).Root(ctx)
	switch {
	case storage.IsStuck(err):
		return stuck(about, r.Path, err)
	case errors.Is(err, fs.ErrNotExist):
		return about.error(r.Path+" does not exist", "mount it, make it, or correct the path of the repository")
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return about.skip(err.Error(), "run as root")
	case err != nil:
		return about.error(err.Error(), "the repository must be a directory that the daemon can write")
	case !mode.IsDir():
		return about.error(r.Path+" is not a directory", "correct the path of the repository")
	}
	if mount := MissingMount(r.Path); mount != "" {
		return about.error(fmt.Sprintf("%s: %s is in /etc/fstab and is not mounted: backups would be written to the disk below", r.Path, mount), "mount "+mount)
	}
	if mode&0o002 != 0 && mode&fs.ModeSticky == 0 {
		return about.error(fmt.Sprintf("%s: mode %04o: everybody can remove and replace files in it", r.Path, mode.Perm()), "chmod o-w "+r.Path)
	}
	if found := mayWrite(about, access); found != nil {
		return found
	}
	return about.ok(r.Path + " exists and can be written")
}

// stuck is the finding for a repository that does not answer.
func stuck(about subject, path string, err error) []Finding {
	found := about.error(err.Error(), fmt.Sprintf("look at its mount (findmnt %s), the log of the kernel (dmesg), the network and the server. Nothing new starts there; "+
		"the agent continues by itself when it answers. An NFS server that does not come back: umount -f %[1]s, or umount -l %[1]s", path))
	var e *storage.StuckError
	if errors.As(err, &e) {
		return with(with(found, "stuck_since", e.Since.UTC().Format(time.RFC3339)), "stuck_operation", e.Operation)
	}
	return found
}

func (h *host) space(ctx context.Context, repo *storage.Repository) []Finding {
	about := one("space", repo.ID)
	room, err := repo.Space(ctx)
	if storage.IsStuck(err) {
		return stuck(about, repo.Path, err)
	}
	if err != nil {
		return about.error(err.Error(), "look at the file system of the repository")
	}
	free, total := room.Free, room.Total
	facts := func(found []Finding) []Finding {
		return with(with(found, "free_bytes", fmt.Sprint(free)), "total_bytes", fmt.Sprint(total))
	}
	const hint = "free space in the repository, or use another one"
	switch {
	case free < uint64(h.config.Space.Floor.Bytes()):
		return facts(about.error(fmt.Sprintf("%d MiB are free, less than space.floor (%s): running backups fail", free>>20, h.config.Space.Floor), hint))
	case free < uint64(h.config.Space.Reserve.Bytes()):
		return facts(about.error(fmt.Sprintf("%d MiB are free, less than space.reserve (%s): no backup starts", free>>20, h.config.Space.Reserve), hint))
	case room.Files > 0 && room.FreeFiles == 0:
		return facts(about.error("no inode is free: no file can be created", hint))
	case room.Files > 0 && room.FreeFiles < leastInodes:
		return facts(about.warn(fmt.Sprintf("only %d inodes are free", room.FreeFiles), hint))
	}
	return facts(about.ok(fmt.Sprintf("%d of %d GiB are free", free>>30, total>>30)))
}

// ioMode says how images are written here, by the same trial as the agent.
func (h *host) ioMode(ctx context.Context, r config.Repository) []Finding {
	about := one("io", r.ID)
	mode, reason, err := h.repo(r).Images(qemu.Secret{}).DetectIO(ctx)
	switch {
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return about.skip("this user may not write there", "run as root")
	case err != nil:
		return about.error(err.Error(), "the repository must be writable, with room for a small file")
	}
	found := about.ok("O_DIRECT and io_uring work")
	if reason != "" {
		found = about.warn(reason, "backups are slower: use a file system with O_DIRECT (XFS, ext4), and a kernel that allows io_uring")
	}
	return with(with(found, "cache", mode.Cache), "aio", mode.AIO)
}

// catalogFindings lists what is wrong with the restore points.
func catalogFindings(repo *storage.Repository, points []repository.Found, problems []repository.Problem, err error) []Finding {
	about := one("catalog", repo.ID)
	switch {
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0, len(problems) > 0 && os.Geteuid() != 0:
		return about.skip("this user may not read the restore points", "run as root")
	case err != nil:
		return about.error(err.Error(), "the repository must be readable by the daemon")
	case len(problems) == 0:
		return with(about.ok(count(len(points), "restore point")+", each with its manifest and all its images"), "restore_points", fmt.Sprint(len(points)))
	}
	whole := 0
	for _, p := range points {
		if p.Whole {
			whole++
		}
	}
	found := about.error(fmt.Sprintf("%s, %d of them whole, %s", count(len(points), "restore point"), whole, count(len(problems), "problem")),
		"the problems are listed below; backups continue, and a full backup of a VM does not depend on them")
	for i, p := range problems {
		if i == maxNamed {
			return append(found, about.error(fmt.Sprintf("and %d more", len(problems)-i), "'sendense-agent rebuild --dry-run' lists all")...)
		}
		found = append(found, one("catalog", p.Path).error(p.Err.Error(), "put back what is missing, from a copy of the repository if there is one; keep the rest until you know that it is lost")...)
	}
	return found
}
