package daemon

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/output"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/reference"
	"github.com/sendense/backup-agent/rpc"
)

// How much of each list status prints. vm list and backup list have the rest.
const (
	mostVMs      = 20
	mostFailures = 10
	mostFetched  = 1000
)

// A glance is the answer of status: the state of the agent, and how the backups of the VMs stand.
type glance struct {
	rpc.AgentStatus
	VMBackups    []rpc.VMBackups `json:"vm_backups"`              // overdue ones first
	FailedSince  time.Time       `json:"failed_since"`            // the start of yesterday, in the local time zone
	Failures     []rpc.Backup    `json:"failures"`                // that began since then, the newest first
	Running      []rpc.Backup    `json:"running"`                 // backups in progress, the oldest first
	GlanceFailed string          `json:"glance_failed,omitempty"` // why the lists are not known; "" if they are
}

// look asks the agent for all of it. What cannot be read of the lists is said, and is no error: the state of the agent is shown then,
// too.
func look(ctx context.Context, c *rpc.Client, now time.Time) (glance, error) {
	var g glance
	var err error
	if g.AgentStatus, err = c.Status(ctx); err != nil {
		return g, err
	}
	now = now.Local()
	g.FailedSince = time.Date(now.Year(), now.Month(), now.Day()-1, 0, 0, 0, 0, time.Local)
	err = g.lists(ctx, c)
	if err != nil && !command.WentAway(err) {
		g.GlanceFailed, err = err.Error(), nil
	}
	return g, err
}

func (g *glance) lists(ctx context.Context, c *rpc.Client) error {
	_, of, err := command.AllVMsWithBackups(ctx, c)
	if err != nil {
		return err
	}
	describe.SortByUrgency(of)
	g.VMBackups = of
	for _, state := range []rpc.BackupState{rpc.Failed, rpc.Undoing} {
		page, err := c.ListBackups(ctx, rpc.BackupQuery{State: state, Since: g.FailedSince, Limit: mostFetched})
		if err != nil {
			return err
		}
		if state == rpc.Undoing { // why it fails is known already
			page.Backups = slices.DeleteFunc(page.Backups, func(b rpc.Backup) bool { return b.Failure == nil })
		}
		g.Failures = append(g.Failures, page.Backups...)
	}
	slices.SortStableFunc(g.Failures, func(a, b rpc.Backup) int { return b.CreatedAt.Compare(a.CreatedAt) })
	g.Running, err = reference.Active(ctx, c)
	return err
}

// print prints the lists. Those that need a person come first.
func (g *glance) print(p *output.Printer, now time.Time) {
	if g.GlanceFailed != "" {
		p.Line("")
		p.Prose("The backups of the VMs are not known: %s", g.GlanceFailed)
		return
	}
	g.printVMs(p, now)
	g.printFailures(p)
	g.printRunning(p)
}

func (g *glance) printVMs(p *output.Printer, now time.Time) {
	if len(g.VMBackups) == 0 {
		return
	}
	overdue := 0
	var rows [][]string
	for _, of := range g.VMBackups {
		if of.Overdue {
			overdue++
		}
		if len(rows) < mostVMs {
			s := describe.StandingOf(of, now)
			rows = append(rows, []string{of.VMName, s.Word, s.LastGood, s.Age, s.Now, s.Failed})
		}
	}
	p.Line("")
	switch overdue {
	case 0:
		p.Line("no VM is overdue")
	default:
		p.Prose("%s overdue, of %d: the newest good restore point is older than the interval of the VM", human.CountAre(overdue, "VM"), len(g.VMBackups))
	}
	p.Table([]output.Column{
		{Title: "vm", Most: output.NameWidth},
		{Title: "backups"},
		{Title: "last good"},
		{Title: "age"},
		{Title: "now", Rank: 2},
		{Title: "last failure", Rank: 1},
	}, rows)
	if more := len(g.VMBackups) - len(rows); more > 0 {
		p.Line("and %d more: sendensectl vm list", more)
	}
}

func (g *glance) printFailures(p *output.Printer) {
	p.Line("")
	since := g.FailedSince.Format("2006-01-02 15:04")
	if len(g.Failures) == 0 {
		p.Line("no backup failed since yesterday (%s)", since)
		return
	}
	p.Line("%s failed since yesterday (%s)", human.Count(len(g.Failures), "backup"), since)
	for _, b := range g.Failures[:min(len(g.Failures), mostFailures)] {
		why := "the reason is not on record"
		if f := b.Failure; f != nil {
			why = string(f.Reason) + ": " + f.Message
		}
		p.Prose("  %s  %s: %s", human.ShortTime(cmp.Or(b.EndedAt, b.UpdatedAt)), b.VMName, why)
	}
	if more := len(g.Failures) - mostFailures; more > 0 {
		p.Line("and %d more: sendensectl backup list --state failed --since %s", more, g.FailedSince.Format(time.DateOnly))
	}
}

func (g *glance) printRunning(p *output.Printer) {
	p.Line("")
	if len(g.Running) == 0 {
		p.Line("no backup is in progress")
		return
	}
	p.Line("%s in progress", human.CountAre(len(g.Running), "backup"))
	var rows [][]string
	for _, b := range g.Running {
		how := b.WaitsFor
		if b.Progress != nil {
			how = describe.Progress(*b.Progress)
		}
		rows = append(rows, []string{b.VMName, string(b.State), string(b.BackupType), how, b.BackupID})
	}
	p.Table([]output.Column{
		{Title: "vm", Most: output.NameWidth},
		{Title: "state"},
		{Title: "type", Rank: 2},
		{Title: "progress"},
		{Title: "backup", Rank: 1},
	}, rows)
}
