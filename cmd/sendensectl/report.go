package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"os"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/sendense/backup-agent/rpc"
)

const (
	defaultReportDays = 30
	mostReportDays    = 366
)

func (a *app) reportCommand() *cobra.Command {
	var file string
	var days int
	c := &cobra.Command{
		Use: "report --html FILE", Short: "Write a page that shows the restore points of every VM",
		Long: `Write a page to look at: every VM and every day with its restore points, how they stand on each other, their sizes, what
failed and why, and the repositories. It is one HTML file that needs nothing else, and no network.`,
		Example: `  sendensectl report --html /var/www/backups.html --days 60
  sendensectl report --html - | mail -a 'Content-Type: text/html' -s backups team@example.com`,
		Args: noArgs,
		PreRunE: func(*cobra.Command, []string) error {
			switch {
			case file == "":
				return errors.New("report: want --html FILE, - is the standard output")
			case days < 1 || days > mostReportDays:
				return fmt.Errorf("--days %d: want 1 to %d", days, mostReportDays)
			}
			return nil
		},
		RunE: a.ask(func(ctx context.Context, c *rpc.Client, _ []string) error {
			e, err := gather(ctx, c, time.Now(), days)
			if err != nil {
				return err
			}
			e.version = a.version
			return a.writeReport(e, file)
		}),
	}
	c.Flags().StringVar(&file, "html", "", "write the page to `FILE`, - is the standard output")
	c.Flags().IntVar(&days, "days", defaultReportDays, "days to show, today included")
	register(c, "html", fileNames("html"))
	return c
}

// writeReport writes the page in one piece: whoever looks meanwhile sees the one before.
func (a *app) writeReport(e *estate, file string) error {
	var page bytes.Buffer
	if err := e.page().write(&page); err != nil {
		return err
	}
	if file == "-" {
		_, err := a.stdout.Write(page.Bytes())
		return err
	}
	if err := renameio.WriteFile(file, page.Bytes(), 0o644); err != nil {
		return fmt.Errorf("report: %s cannot be written: %w", file, cause(err))
	}
	result := struct {
		File string `json:"file"`
	}{file}
	return a.show(result, func(p *printer) { p.line("%s: %s, %s", file, count(len(e.vms), "VM"), count(e.days, "day")) })
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

// An estate is what the agent knows that the report shows.
type estate struct {
	at           time.Time // the page's now
	host         string
	version      string    // of sendensectl
	from         time.Time // start of the first day
	days         int
	status       rpc.AgentStatus
	vms          []rpc.VM
	backups      []rpc.Backup          // of these days, the oldest first
	last         map[string]rpc.Backup // the newest restore point of each VM that is neither damaged nor dated in the future, of whatever time
	repositories []rpc.Repository
}

func gather(ctx context.Context, c *rpc.Client, now time.Time, days int) (e *estate, err error) {
	y, m, d := now.Date()
	e = &estate{at: now, from: time.Date(y, m, d-days+1, 0, 0, 0, 0, now.Location()), days: days, last: map[string]rpc.Backup{}}
	if e.host, err = os.Hostname(); err != nil {
		return nil, err
	}
	if e.status, err = c.Status(ctx); err != nil {
		return nil, err
	}
	e.repositories = e.status.Repositories
	if e.vms, err = allVMs(ctx, c); err != nil {
		return nil, err
	}
	if e.backups, err = allBackups(ctx, c, rpc.BackupQuery{Since: e.from}); err != nil {
		return nil, err
	}
	return e, e.gatherLast(ctx, c)
}

// gatherLast finds each VM's newest restore point that is good, among those of the page or before.
func (e *estate) gatherLast(ctx context.Context, c *rpc.Client) error {
	for _, b := range e.backups {
		if isGood(b) {
			e.last[b.VMName] = b
		}
	}
	for _, vm := range e.vms {
		if _, ok := e.last[vm.VMName]; ok {
			continue
		}
		b, found, err := e.lastGood(ctx, c, vm.VMName)
		if err != nil {
			return err
		}
		if found {
			e.last[vm.VMName] = b
		}
	}
	return nil
}

// isGood says whether a restore point is one to rely on: it is not damaged, and not dated in the future, when nobody knows its age.
func isGood(b rpc.Backup) bool { return b.State == rpc.Completed && !b.Damaged() && !b.FutureDated }

// lastGood turns pages until there is a good restore point: nearly always the first of the first one.
func (e *estate) lastGood(ctx context.Context, c *rpc.Client, vm string) (rpc.Backup, bool, error) {
	for q := (rpc.BackupQuery{VMName: vm, State: rpc.Completed, Limit: 1, Until: e.at.Add(5 * time.Minute)}); ; q.Limit = 100 {
		page, err := c.ListBackups(ctx, q)
		if err != nil {
			return rpc.Backup{}, false, err
		}
		for _, b := range page.Backups {
			if isGood(b) {
				return b, true, nil
			}
		}
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			return rpc.Backup{}, false, nil
		}
	}
}

func allVMs(ctx context.Context, c *rpc.Client) (list []rpc.VM, err error) {
	for q := (rpc.VMQuery{Limit: 1000}); ; {
		page, err := c.ListVMs(ctx, q)
		if err != nil {
			return nil, err
		}
		list = append(list, page.VMs...)
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			return list, nil
		}
	}
}

// allBackups turns every page, and returns the oldest first.
func allBackups(ctx context.Context, c *rpc.Client, q rpc.BackupQuery) (list []rpc.Backup, err error) {
	for q.Limit = 1000; ; {
		page, err := c.ListBackups(ctx, q)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Backups...)
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			break
		}
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list, nil
}

//go:embed report
var reportFiles embed.FS

func reportFile(name string) string {
	data, err := reportFiles.ReadFile("report/" + name)
	if err != nil {
		panic(err) // it is not in the program
	}
	return string(data)
}

var reportTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"size":     func(n uint64) string { return humanSize(n) },
	"capacity": func(n int64) string { return humanSize(n) },
	"time":     humanTime,
	"count":    count,
	"iso":      func(t time.Time) string { return t.Format(time.RFC3339) },
	"next":     func(i int) int { return i + 1 },
}).Parse(reportFile("page.html")))

func (p *page) write(w *bytes.Buffer) error { return reportTemplate.Execute(w, p) }
