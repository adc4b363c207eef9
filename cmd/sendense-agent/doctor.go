package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/catalog"
	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/rpc"
)

// doctorCommand checks that this machine can back up; path holds the value of --config.
func doctorCommand(path *string) *cobra.Command {
	var output string
	var strict bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check that this machine can back up, and say how to fix what is wrong",
		Long: "doctor checks everything that a backup needs: configuration, database, systemd, ports, the SNA, and every repository. In\n" +
			"each repository it tries a backup: it makes an image, serves it in the sandbox, writes, flushes, reads it back, and removes\n" +
			"it. The daemon may run or not, and is not disturbed. Run it as root: other users cannot see everything.\n\n" +
			"It exits with 1 when something keeps backups from working, else with 0. With --strict, warnings count too.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output %q: want text or json", output)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			report := doctor.Run(ctx, doctor.Options{ConfigPath: *path, Version: version, Daemon: askDaemon})
			if err := printReport(cmd.OutOrStdout(), report, output); err != nil {
				return err
			}
			switch {
			case ctx.Err() != nil:
				return fmt.Errorf("doctor: interrupted")
			case report.Errors > 0:
				return fmt.Errorf("doctor: %s, listed above", count(report.Errors, "error"))
			case strict && report.Warnings > 0:
				return fmt.Errorf("doctor: %s, listed above", count(report.Warnings, "warning"))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 1 on warnings too")
	return cmd
}

func printReport(w io.Writer, report doctor.Report, output string) error {
	if output == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(report)
	}
	terminal := false
	if f, ok := w.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		terminal = err == nil
	}
	return report.Print(w, terminal, terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

// catalogState is what the daemon says about a repository's records.
func catalogState(r rpc.Repository) catalog.State {
	s := catalog.State{Error: r.Catalog.Error, Comparison: rebuild.Comparison{
		At: r.Catalog.ComparedAt, Points: r.RestorePoints,
		Unrecorded: r.Catalog.Unrecorded, Missing: r.Catalog.Missing, Different: r.Catalog.Different,
		Others: r.Catalog.Others, Examples: r.Catalog.Examples,
	}, Importing: r.Catalog.Importing, Waiting: r.Catalog.Waiting}
	for _, d := range r.Catalog.Differences {
		s.Named = append(s.Named, rebuild.Difference{Kind: rebuild.Kind(d.Kind), BackupID: d.BackupID, Path: d.Directory, Reason: d.Reason})
	}
	return s
}

// askDaemon asks the daemon at a socket for what the checks need.
func askDaemon(ctx context.Context, socket string) (doctor.Daemon, error) {
	c, err := rpc.Dial(ctx, socket)
	if err != nil {
		return doctor.Daemon{}, err
	}
	defer c.Close()
	status, err := c.Status(ctx)
	if err != nil {
		return doctor.Daemon{}, err
	}
	d := doctor.Daemon{
		Version: status.Version, ActiveBackups: status.ActiveBackups, Catalogs: map[string]catalog.State{},
		FuturePoints: status.FutureRestorePoints, FutureIDs: status.FutureBackupIDs,
	}
	for _, r := range status.Repositories {
		d.Catalogs[r.RepositoryID] = catalogState(r)
	}
	for _, p := range status.HeldPrunes {
		d.HeldPrunes = append(d.HeldPrunes, doctor.HeldPrune{VM: p.VMName, Repository: p.RepositoryID, Removed: p.RemovedCount, Points: p.PointCount})
	}
	exports, err := c.ListExports(ctx)
	for _, e := range exports.Exports {
		d.Ports = append(d.Ports, e.NBDPort)
	}
	return d, err
}
