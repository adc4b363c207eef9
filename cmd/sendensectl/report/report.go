// Package report makes the page of report --html: it gathers what the agent knows of some days (estate.go), draws the grid of VMs and days
// (grid.go), sums up (page.go), and fills page.html. The page is one file that loads nothing.
package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/rpc"
)

const (
	defaultReportDays = 30
	mostReportDays    = 366
)

func Command(a *command.App) *cobra.Command {
	var file string
	var days int
	c := &cobra.Command{
		Use: "report --html FILE", Short: "Write a page that shows the restore points of every VM",
		Long: `Write a page to look at: every VM and every day with its restore points, how they stand on each other, their sizes, what
failed and why, and the repositories. It is one HTML file that needs nothing else, and no network.`,
		Example: `  sendensectl report --html /var/www/backups.html --days 60
  sendensectl report --html - | mail -a 'Content-Type: text/html' -s backups team@example.com`,
		Args: command.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			switch {
			case file == "":
				return errors.New("report: want --html FILE, - is the standard output")
			case days < 1 || days > mostReportDays:
				return fmt.Errorf("--days %d: want 1 to %d", days, mostReportDays)
			}
			return nil
		},
		RunE: a.Ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			e, err := gather(ctx, c, time.Now(), days)
			if err != nil {
				return err
			}
			e.version = a.Version
			return writeReport(a, e, file)
		}),
	}
	c.Flags().StringVar(&file, "html", "", "write the page to `FILE`, - is the standard output")
	c.Flags().IntVar(&days, "days", defaultReportDays, "days to show, today included")
	command.CompleteWith(c, "html", command.FileNames("html"))
	return c
}

// writeReport writes the page in one piece: whoever looks meanwhile sees the one before.
func writeReport(a *command.App, e *estate, file string) error {
	var page bytes.Buffer
	if err := e.page().write(&page); err != nil {
		return err
	}
	if file == "-" {
		_, err := a.Stdout.Write(page.Bytes())
		return err
	}
	if err := renameio.WriteFile(file, page.Bytes(), 0o644); err != nil {
		return fmt.Errorf("report: %s cannot be written: %w", file, cause(err))
	}
	result := struct {
		File string `json:"file"`
	}{file}
	return a.Show(result, func(p *output.Printer) {
		p.Line("%s: %s, %s", file, human.Count(len(e.vms), "VM"), human.Count(e.days, "day"))
	})
}

// cause is an error without the name of the temporary file that it was about.
func cause(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
