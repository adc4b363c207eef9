package report

import (
	"context"
	"os"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/rpc"
)

// An estate is the data that the report shows.
type estate struct {
	at           time.Time // the time of the page
	host         string
	version      string    // of sendensectl
	from         time.Time // start of the first day
	days         int
	status       rpc.AgentStatus
	vms          []rpc.VM
	wanted       map[string]rpc.VMBackups // by VM: how often it wants a restore point, and whether the newest one is too old
	groups       []rpc.Group
	ungrouped    int                   // VMs that are in no group
	runs         []rpc.Run             // due on the shown days, the latest first
	backups      []rpc.Backup          // of the shown days, the oldest first
	last         map[string]rpc.Backup // the newest good restore point of each VM, of any time
	repositories []rpc.Repository
}

func gather(ctx context.Context, c *rpc.Client, now time.Time, days int) (e *estate, err error) {
	y, m, d := now.Date()
	e = &estate{at: now, from: time.Date(y, m, d-days+1, 0, 0, 0, 0, now.Location()), days: days, last: map[string]rpc.Backup{}, wanted: map[string]rpc.VMBackups{}}
	if e.host, err = os.Hostname(); err != nil {
		return nil, err
	}
	if e.status, err = c.Status(ctx); err != nil {
		return nil, err
	}
	e.repositories = e.status.Repositories
	vms, standing, err := command.AllVMsWithBackups(ctx, c)
	if err != nil {
		return nil, err
	}
	e.vms = vms
	for _, b := range standing {
		e.wanted[b.VMName] = b
	}
	if err = e.gatherRuns(ctx, c); err != nil {
		return nil, err
	}
	if e.backups, err = allBackups(ctx, c, rpc.BackupQuery{Since: e.from}); err != nil {
		return nil, err
	}
	return e, e.gatherLast(ctx, c)
}

// gatherLast finds the newest good restore point of each VM, on the page or before.
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

// isGood reports whether a restore point is reliable: it is not damaged, and not dated in the future, so that its age is known.
func isGood(b rpc.Backup) bool { return b.State == rpc.Completed && !b.Damaged() && !b.FutureDated }

// lastGood reads the list until there is a good restore point. Usually that is the first one.
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

// maxRuns is how many runs an answer has at most.
const maxRuns = 1000

func (e *estate) gatherRuns(ctx context.Context, c *rpc.Client) error {
	groups, err := c.ListGroups(ctx)
	if err != nil {
		return err
	}
	e.groups, e.ungrouped = groups.Groups, len(groups.Ungrouped)
	seen := map[string]bool{}
	for q := (rpc.RunQuery{Since: e.from, Limit: maxRuns}); ; {
		page, err := c.ListRuns(ctx, q)
		if err != nil {
			return err
		}
		for _, r := range page.Runs {
			if !seen[r.RunID] {
				seen[r.RunID] = true
				e.runs = append(e.runs, r)
			}
		}
		if len(page.Runs) < maxRuns {
			return nil
		}
		oldest := page.Runs[maxRuns-1].Due
		if q.Until = oldest.Add(1); !page.Runs[0].Due.After(oldest) { // a whole answer of one due time
			q.Until = oldest
		}
	}
}

// allBackups reads all pages, and returns the oldest backup first.
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
