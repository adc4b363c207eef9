package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
)

// rebuildCommand rebuilds the catalog from the manifests; path holds the value of --config.
func rebuildCommand(path *string) *cobra.Command {
	var dryRun bool
	var output string
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Rebuild the catalog from the manifests in the repositories",
		Long: "rebuild reads the manifest of every restore point in every configured repository. It adds to the database what is missing\n" +
			"there: restore points, and VMs as their newest restore point describes them. It corrects a record that is older than its\n" +
			"manifest, as in a database that was restored from a copy. It changes and removes nothing else. Stop the daemon first.\n" +
			"You can run it as often as you like. A damaged database is set aside, and a new one is made.\n\n" +
			"It exits with 1 when it found a problem; everything else is done then.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output %q: want text or json", output)
			}
			cfg, err := config.Load(*path)
			if err != nil {
				return err
			}
			report, err := rebuildCatalog(cmd.Context(), cfg, dryRun)
			if err != nil {
				return err
			}
			if err := report.print(cmd.OutOrStdout(), output); err != nil {
				return err
			}
			if n := len(report.Problems); n > 0 {
				return fmt.Errorf("rebuild: %s, listed above", count(n, "problem"))
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "show what would be done, and change nothing")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// rebuildCatalog adds to the database what the repositories hold. A damaged database is set aside and replaced.
func rebuildCatalog(ctx context.Context, cfg *config.Config, dryRun bool) (*rebuildReport, error) {
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
	found, aside, err := updateOrReplace(ctx, path, repos.All, cfg.SNA.Cooldown.Std())
	if err != nil {
		return nil, err
	}
	report.Report = *found
	if aside != "" {
		report.SetAside = strings.Replace(aside, path, report.Database, 1)
	}
	return report, nil
}

func updateOrReplace(ctx context.Context, path string, repos []*storage.Repository, cooldown time.Duration) (_ *rebuild.Report, aside string, err error) {
	db, err := openWhole(path, cooldown)
	if errors.Is(err, store.ErrDamaged) || errors.Is(err, fs.ErrNotExist) {
		return rebuild.Replace(ctx, path, repos, cooldown, nil)
	}
	if err != nil {
		return nil, "", err
	}
	if r := db.Recovery(); r != nil {
		aside = r.Aside
	}
	report, err := rebuild.Update(ctx, db, repos)
	return report, aside, errors.Join(err, db.Close())
}

// openRepositories opens those of the configuration, in this process. It needs the exporters' user, because a manifest that belongs to
// that user is refused.
func openRepositories(cfg *config.Config) (*repositories.Set, error) {
	account, err := repositories.ExporterAccount(cfg)
	if err != nil {
		return nil, err
	}
	return repositories.New(repositories.Parts{Config: cfg, Log: slog.Default()}, account), nil
}

// copyDatabase makes a copy for a dry run, and returns what removes it. Without a database there is no copy either.
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
