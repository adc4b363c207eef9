package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/store"
)

// rebuildCommand makes the catalog again from the manifests; path is where the flag for the configuration lands.
func rebuildCommand(path *string) *cobra.Command {
	var dryRun bool
	var output string
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Make the catalog again from the manifests in the repos",
		Long: "rebuild reads the manifest of every restore point in every configured repository and puts on record what the\n" +
			"database does not know: restore points, and VMs as their newest restore point describes them. A record that is older\n" +
			"than its manifest, as in a database that was put back from a copy, is corrected; all else on record stays as it\n" +
			"is, so it can be run at any time the daemon is stopped, and as often as wanted. It removes nothing. A database\n" +
			"that is damaged is set aside, and a new one is made.\n\n" +
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
			report, err := rebuildCatalog(cfg, dryRun)
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

// rebuildCatalog brings the database up to what the repos hold. One that is damaged is set aside, and a new one put
// in its place.
func rebuildCatalog(cfg *config.Config, dryRun bool) (*rebuildReport, error) {
	repos, err := openRepositories(cfg)
	if err != nil {
		return nil, err
	}
	if _, err := repositories.Apart(cfg); err != nil {
		return nil, err
	}
	path := databasePath(cfg)
	report := &rebuildReport{Database: path, DryRun: dryRun}
	if dryRun {
		copied, remove, err := copyDatabase(path)
		if err != nil {
			return nil, err
		}
		defer remove()
		path = copied
	}
	found, aside, err := updateOrReplace(path, repos, cfg.SNA.Cooldown.Std())
	if err != nil {
		return nil, err
	}
	report.Report = *found
	if aside != "" {
		report.SetAside = strings.Replace(aside, path, report.Database, 1)
	}
	return report, nil
}

func updateOrReplace(path string, repos []*repository.Repository, cooldown time.Duration) (_ *rebuild.Report, aside string, err error) {
	db, err := openWhole(path, cooldown)
	if errors.Is(err, store.ErrDamaged) || errors.Is(err, fs.ErrNotExist) {
		return rebuild.Replace(path, repos, cooldown)
	}
	if err != nil {
		return nil, "", err
	}
	if r := db.Recovery(); r != nil {
		aside = r.Aside
	}
	report, err := rebuild.Update(db, repos)
	return report, aside, errors.Join(err, db.Close())
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
	repository.KeepApart(list)
	return list, nil
}

// copyDatabase makes a copy to try things on, and returns what removes it. Where there is no database there is none in
// the copy's place either.
func copyDatabase(path string) (beside string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "sendense-agent-rebuild-")
	if err != nil {
		return "", nil, err
	}
	beside = filepath.Join(dir, filepath.Base(path))
	if err := store.Copy(beside, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = os.RemoveAll(dir)
		return "", nil, err
	}
	return beside, func() { _ = os.RemoveAll(dir) }, nil
}
