package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
)

// rebuildCommand makes the catalog again from the manifests; path is where the flag for the configuration lands.
func rebuildCommand(path *string) *cobra.Command {
	var dryRun bool
	var output string
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Make the catalog again from the manifests in the repositories",
		Long: "rebuild reads the manifest of every restore point in every configured repository and puts on record what the\n" +
			"database does not know: restore points, and VMs as their newest restore point describes them. What is on record\n" +
			"stays as it is, so it can be run at any time the daemon is stopped, and as often as wanted.\n\n" +
			"It exits with 1 when something was found that is not as it should be; all the rest has been done then.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output %q: want text or json", output)
			}
			cfg, err := config.Load(*path)
			if err != nil {
				return err
			}
			report, err := rebuild(cfg, dryRun)
			if err != nil {
				return err
			}
			if err := report.print(cmd.OutOrStdout(), output); err != nil {
				return err
			}
			if n := len(report.Problems); n > 0 {
				return fmt.Errorf("rebuild: %s, named above", count(n, "problem"))
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "say what would be done and change nothing")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// rebuild brings the database up to what the repositories hold.
func rebuild(cfg *config.Config, dryRun bool) (report *rebuildReport, err error) {
	repositories, err := openRepositories(cfg)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(cfg.Agent.StateDirectory, "agent.db")
	report = newRebuildReport(path, dryRun)
	if dryRun {
		var remove func()
		if path, remove, err = copyDatabase(path); err != nil {
			return nil, err
		}
		defer remove()
	}
	db, err := store.Open(path, store.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	b := &rebuilder{store: db, report: report, newest: map[string]repository.Manifest{}}
	for _, r := range repositories {
		if err := b.addRepository(r); err != nil {
			return nil, err
		}
	}
	return report, b.addVMs()
}

// openRepositories are those of the configuration. The exporters' user matters: a manifest of theirs is none.
func openRepositories(cfg *config.Config) ([]*repository.Repository, error) {
	var owner *repository.Owner
	if name := cfg.Agent.ExporterUser; name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			return nil, fmt.Errorf("agent.exporter_user %q: %w: create it (systemd-sysusers) or set another user", name, err)
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("agent.exporter_user %q: %w", name, err)
		}
		owner = &repository.Owner{UID: uid, GID: gid}
	}
	var list []*repository.Repository
	for _, r := range cfg.Repositories {
		list = append(list, repository.New(r.ID, r.Path, owner))
	}
	return list, nil
}

// A rebuilder puts on record what it finds. An error of its methods is one of the database, which ends the work;
// everything else is a problem in the report.
type rebuilder struct {
	store  *store.Store
	report *rebuildReport
	newest map[string]repository.Manifest // by VM name
}

func (b *rebuilder) addRepository(r *repository.Repository) error {
	b.report.Repositories = append(b.report.Repositories, r.ID)
	points, problems, err := r.Points()
	if err != nil {
		b.report.problem(r.Path, err)
		return nil
	}
	for _, p := range problems {
		b.report.problem(p.Path, p.Err)
	}
	// In the order in which they were made, so that a rebuild that is cut short leaves no child without its parent.
	slices.SortStableFunc(points, func(x, y repository.Found) int {
		return cmp.Or(x.Manifest.CreatedAt.Compare(y.Manifest.CreatedAt), cmp.Compare(x.Path, y.Path))
	})
	for _, p := range points {
		if !p.Whole {
			continue // a problem names it; on record it would be built upon
		}
		if err := b.addPoint(r, p); err != nil {
			return err
		}
	}
	return nil
}

// addPoint puts one restore point on record, unless it is there.
func (b *rebuilder) addPoint(r *repository.Repository, p repository.Found) error {
	m := p.Manifest
	added, err := b.store.Import(m.Backup(r.ID, p.Path))
	if err != nil {
		return err
	}
	if !added {
		if why, err := b.compare(m.BackupID, p.Path); err != nil {
			return err
		} else if why != nil {
			b.report.problem(p.Path, why)
			return nil
		}
	}
	b.report.add(rebuiltPoint{BackupID: m.BackupID, VMName: m.VM.Name, Repository: r.ID, Directory: p.Path}, added)
	if old, ok := b.newest[m.VM.Name]; !ok || m.CreatedAt.After(old.CreatedAt) {
		b.newest[m.VM.Name] = m
	}
	return nil
}

// compare says why what was not imported is not what the database knows under its id; nil if it is. A backup that is
// active there is completed by the daemon, which finds the manifest.
func (b *rebuilder) compare(id, directory string) (why, err error) {
	removed, err := b.store.Removed(id)
	if err != nil {
		return nil, err
	}
	if removed {
		return fmt.Errorf("backup %s was deleted and its directory is left behind: remove the directory", id), nil
	}
	known, err := b.store.Backup(id)
	switch {
	case err != nil:
		return nil, err
	case known.Directory != directory:
		return fmt.Errorf("backup %s is on record in %s: remove this directory if it is a copy; "+
			"if the repository was moved, move the database away and run this again", id, known.Directory), nil
	case known.State.Terminal() && known.State != "completed":
		return fmt.Errorf("backup %s has a manifest and is on record as %s: look at both, and remove one", id, known.State), nil
	}
	return nil, nil
}

// addVMs registers the VMs that have restore points and no record.
func (b *rebuilder) addVMs() error {
	for _, m := range b.newest {
		_, err := b.store.VM(m.VM.Name)
		var missing *store.NotFoundError
		if errors.As(err, &missing) {
			_, err = b.store.PutVM(m.Backup("", "").VM)
			b.report.VMs = append(b.report.VMs, m.VM.Name)
		}
		if err != nil {
			return err
		}
	}
	slices.Sort(b.report.VMs)
	return nil
}

// copyDatabase makes a copy to try things on, and returns what removes it. Where there is no database there is none in
// the copy's place either.
func copyDatabase(path string) (beside string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "sendense-agent-rebuild-")
	if err != nil {
		return "", nil, err
	}
	beside = filepath.Join(dir, filepath.Base(path))
	if err := copyLocked(beside, path); err != nil {
		_ = os.RemoveAll(dir)
		return "", nil, fmt.Errorf("database %s: %w", path, err)
	}
	return beside, func() { _ = os.RemoveAll(dir) }, nil
}

// copyLocked copies a database, if there is one. The lock keeps the daemon from writing meanwhile, and shows when it
// runs.
func copyLocked(to, path string) error {
	from, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close()
	err = unix.Flock(int(from.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errors.New("locked by another process: stop the daemon first")
	}
	if err != nil {
		return err
	}
	copied, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(copied, from)
	return errors.Join(err, copied.Close())
}
