package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
)

func (h *host) databasePath() string {
	return filepath.Join(h.config.Agent.StateDirectory, "agent.db")
}

// leastStateBytes is what the file system of the database should have free.
const leastStateBytes = 64 << 20

// stateDirectory checks that the directory of the database exists, is private, and can be written.
func (h *host) stateDirectory(context.Context) []Finding {
	path := h.config.Agent.StateDirectory
	about := one("state-directory", path)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return about.warn("does not exist", "systemd makes it when the daemon starts as a service (StateDirectory=); otherwise run: install -d -m 0700 "+path)
	case err != nil:
		return about.error(err.Error(), "it must be a directory that the daemon can read and write")
	case !info.IsDir():
		return about.error("is not a directory", "move it away, or set agent.state_directory to another path")
	case info.Mode()&0o022 != 0:
		return about.error(fmt.Sprintf("mode %04o: others can change the database", info.Mode().Perm()), "chmod 0700 "+path)
	case info.Mode()&0o007 != 0:
		return about.warn(fmt.Sprintf("mode %04o: everybody can read it", info.Mode().Perm()), "chmod 0700 "+path)
	}
	if found := mayWrite(about, unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK|unix.X_OK, unix.AT_EACCESS)); found != nil {
		return found
	}
	room, err := repository.SpaceAt(path)
	if err != nil {
		return about.error(err.Error(), "look at its file system")
	}
	free := room.Free
	if free < leastStateBytes {
		return about.error(fmt.Sprintf("%d MiB are free, the database may need %d MiB", free>>20, leastStateBytes>>20), "free space on its file system")
	}
	return append(about.ok(fmt.Sprintf("private and writable, %d MiB free", free>>20)), setAside(h.databasePath())...)
}

// setAside lists the damaged databases that are kept beside a database until a person has looked at them.
func setAside(database string) (found []Finding) {
	list, _ := store.SetAside(database) // an unreadable directory is a finding above
	for _, path := range list {
		found = append(found, one("database", path).warn("a damaged database is kept here",
			"check the disk; compare the catalog with what you expect (sendensectl vm list, backup list); then remove the file")...)
	}
	return found
}

// mayWrite returns a finding if a directory cannot be written. Only for root this says something about the daemon.
func mayWrite(about subject, err error) []Finding {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EROFS):
		return about.error("its file system is read-only", "mount it writable; the kernel's log may say why it is read-only")
	case os.Geteuid() != 0:
		return about.skip("this user may not write there", "run as root to see whether the daemon can")
	}
	return about.error("cannot be written: "+err.Error(), "it must be a directory that the daemon can write")
}

const (
	lockPatience  = 500 * time.Millisecond
	maxWholeCheck = 64 << 20 // read from beginning to end; the daemon does the same at its start
)

// database checks the database, unless the daemon has it open: then the daemon's own checks count.
func (h *host) database(ctx context.Context) []Finding {
	about := one("database", h.databasePath())
	found, err := store.Inspect(ctx, h.databasePath(), lockPatience, maxWholeCheck)
	var locked *store.LockedError
	var newer *store.NewerSchemaError
	switch {
	case errors.As(err, &locked):
		return lockedDatabase(about, locked.Holders, h.daemonErr)
	case errors.As(err, &newer):
		return about.error(err.Error(), "install the newer agent again, or set the file aside and run 'sendense-agent rebuild'")
	case errors.Is(err, store.ErrDamaged):
		return about.error(err.Error(), "restart the daemon: it sets the file aside and makes the catalog again from the manifests")
	case errors.Is(err, fs.ErrNotExist):
		return about.ok("does not exist yet: the daemon makes it from the manifests in the repositories")
	case errors.Is(err, fs.ErrPermission):
		return about.skip("this user may not read it", "run as root")
	case err != nil:
		return about.error(err.Error(), "it must be a file that the daemon can read and write")
	}
	if found.HeaderDamaged {
		return about.warn("one of its two header pages is damaged", "restart the daemon: it opens the database with the other page, which may lack the last change, and "+
			"keeps the damaged file beside it; check the disk")
	}
	message := fmt.Sprintf("sound, %d KiB, schema version %d", found.SizeBytes>>10, found.Version)
	switch {
	case found.Version < found.Supported:
		message = fmt.Sprintf("schema version %d; the daemon upgrades it to %d when it starts", found.Version, found.Supported)
	case !found.Whole:
		message += "; too large to be read completely now"
	}
	return with(about.ok(message), "schema", fmt.Sprint(found.Version))
}

// lockedDatabase says who has the database open. daemonErr says why the daemon does not answer.
func lockedDatabase(about subject, holders []string, daemonErr error) []Finding {
	holder := strings.Join(holders, ", ")
	if holder == "" {
		holder = "another process"
	}
	foreign := len(holders) > 0 && !strings.HasPrefix(holder, "sendense-agent (")
	var found []Finding
	switch {
	case foreign:
		found = about.error("locked by "+holder+", which is not the daemon", "end that process: the daemon cannot start")
	case daemonErr == nil:
		found = about.ok("in use by the daemon, which answers")
	case errors.Is(daemonErr, fs.ErrPermission):
		found = about.skip("in use by "+holder, "run as root to ask the daemon")
	default:
		found = about.warn("locked by "+holder+", and the daemon does not answer", "wait if the daemon starts or a rebuild runs; otherwise look at 'journalctl -u sendense-agent'")
	}
	return with(found, "holder", holder)
}
