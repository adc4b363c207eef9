// Package report has the command "report". It collects the data from the agent (estate.go), makes the grid of VMs and days (grid.go) and
// the other parts of the page (page.go), and fills page.html. The page is one file that loads nothing.
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

// Command makes "report".
func Command(a *command.App) *cobra.Command {
	var file string
	var days int
	c := &cobra.Command{
		Use: "report --html FILE", Short: "Write an HTML page with the restore points of all VMs",
		Long: `Write an HTML page: for each VM and day, the restore points, their chains and sizes; the failed backups with the reasons; and the
repositories. The page is one file. It loads nothing and needs no network.`,
		Example: `  sendensectl report --html /var/www/backups.html --days 60
  sendensectl report --html - | mail -a 'Content-Type: text/html' -s backups team@example.com`,
		Args: command.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			switch {
			case file == "":
				return errors.New("report: want --html FILE; - is the standard output")
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
	c.Flags().StringVar(&file, "html", "", "write the page to `FILE`; - is the standard output")
	c.Flags().IntVar(&days, "days", defaultReportDays, "number of days to show, including today")
	command.CompleteWith(c, "html", command.FileNames("html"))
	return c
}

// writeReport replaces the page atomically: until then, readers get the old page.
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

// cause is the error without the name of the temporary file.
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
