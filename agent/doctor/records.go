package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/agent/catalog"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
)

// recordsChecks compare the records with each repository.
func (h *host) recordsChecks() []check {
	var list []check
	for _, r := range h.config.Repositories {
		list = append(list, check{
			name: "records", object: r.ID, timeout: trialTimeout,
			look: func(ctx context.Context) []Finding { return h.records(ctx, r) },
		})
	}
	return list
}

// errNotCompared: the daemon has just started.
var errNotCompared = errors.New("the daemon has not compared records and repository yet")

// errDaemon: the daemon has tried, and failed.
var errDaemon = errors.New("the daemon cannot compare records and repository")

const rebuildHint = "stop the daemon and run 'sendense-agent rebuild --dry-run', which lists what it would add; then run it without --dry-run"

// records compares the records with a repository. An older database that was put back shows here.
func (h *host) records(ctx context.Context, r config.Repository) []Finding {
	about := one("records", r.ID)
	s, err := h.compare(ctx, r)
	found := s.Comparison
	switch {
	case errors.Is(err, errNotCompared):
		return about.skip(err.Error(), "run this again in a minute")
	case errors.Is(err, errDaemon):
		return about.warn(err.Error(), "make sure that the repository is mounted and that the daemon can read it; the daemon tries again every 10 minutes")
	case errors.Is(err, repository.ErrEmpty):
		return about.error(err.Error(), "mount it: there are records of its restore points")
	case errors.Is(err, fs.ErrNotExist):
		return about.skip("nothing to compare: "+err.Error(), "mount or make the repository; the daemon makes a missing database from the manifests in the repositories")
	case err != nil:
		return about.skip("cannot be compared: "+err.Error(), "run this as root, and resolve the findings of the repository and the database")
	case s.Importing:
		return about.skip("the catalog had no restore point of this repository: the daemon imports them now", "run this again in a minute")
	case found.Differences() == 0:
		return append(about.ok(count(found.Points, "restore point")+", the same in the records and in the repository"), others(r.ID, found)...)
	case found.IsNew() && h.catalog == nil:
		return append(about.warn(count(found.Unrecorded, "restore point")+" of this repository not on record, and none of it is",
			"start the daemon: it imports them by itself; or run 'sendense-agent rebuild'"), others(r.ID, found)...)
	}
	return append(h.differences(s, about), others(r.ID, found)...)
}

// others names the directories that are no restore points.
func others(repository string, found rebuild.Comparison) (list []Finding) {
	for _, path := range found.Examples {
		list = append(list, one("records", path).warn("it is no restore point: it has no manifest, and no record names it; the agent leaves it as it is",
			"it may be the rest of a backup that another database knew, or be foreign: if you do not need it, move it out of the repository")...)
	}
	if more := found.Others - len(found.Examples); more > 0 {
		list = append(list, one("records", repository).warn(fmt.Sprintf("and %d more directories without a manifest", more), "find them with 'ls' in the repository")...)
	}
	return list
}

// differences names what differs.
func (h *host) differences(s catalog.State, about subject) []Finding {
	found := s.Comparison
	hint := "an older database may have been put back: " + rebuildHint
	if s.Waiting {
		hint = waitingHint
	}
	list := about.error(fmt.Sprintf("records and repository differ in %s: %d without a record, %d missing in the repository, %d different",
		count(found.Differences(), "restore point"), found.Unrecorded, found.Missing, found.Different), hint)
	for _, d := range found.Named {
		list = append(list, with(one("records", d.Path).error(d.Reason, hintFor(d, s.Waiting)), "kind", string(d.Kind))...)
	}
	if more := found.Differences() - len(found.Named); more > 0 {
		list = append(list, about.error(fmt.Sprintf("and %d more", more), "'sendense-agent rebuild --dry-run' lists all that are in the repository")...)
	}
	return list
}

// waitingHint is the hint for restore points that wait for a key.
const waitingHint = "give the daemon the missing key and restart it: it then imports them by itself. To import them without the key, " +
	"stop the daemon and run 'sendense-agent rebuild'"

func hintFor(d rebuild.Difference, waiting bool) string {
	if d.Kind == rebuild.Unrecorded && waiting {
		return waitingHint
	}
	if d.Kind == rebuild.Missing {
		return "make sure that the repository is mounted, and put the directory back; if it is lost, delete the record: sendensectl backup delete " + d.BackupID + " --missing-ok"
	}
	return rebuildHint
}

// compare asks the daemon for its result, or compares with the database if the daemon does not run.
func (h *host) compare(ctx context.Context, r config.Repository) (s catalog.State, err error) {
	if h.catalog != nil {
		s = h.catalog(r.ID)
		switch {
		case s.Error != "":
			return s, fmt.Errorf("%w: %s", errDaemon, s.Error)
		case s.At.IsZero() && !s.Importing:
			return s, errNotCompared
		}
		return s, nil
	}
	dir, err := os.MkdirTemp("", "sendense-doctor-")
	if err != nil {
		return s, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "agent.db")
	if err := store.Copy(path, h.databasePath()); err != nil {
		return s, err
	}
	db, err := store.Open(path, store.Options{MustExist: true})
	if err != nil {
		return s, err
	}
	defer db.Close() //nolint:errcheck // it is a copy
	s.Comparison, err = rebuild.Compare(ctx, db, h.repo(r), nil)
	return s, err
}
