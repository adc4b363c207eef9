package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/hint"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/rpc"
)

// A gridRow is a VM in a repository.
type gridRow struct {
	VM         string
	Repository string // "" if the VM has only one
	OnRecord   bool
	Cells      []gridCell
	Points     int // including damaged ones
	Received   uint64
	Capacity   int64
	Last       string // age of the newest restore point
	LastAt     time.Time
	Mood       string // "", "warn" or "bad"
	Why        string

	hint string
	age  time.Duration
	runs []rpc.Backup // the oldest first
}

// A gridCell is a VM on a day.
type gridCell struct {
	Class  string // CSS classes: what is drawn
	Text   string // the same in words
	Anchor string // of the failure on this day
	Count  int    // of backups, if more than one
}

const never = 1 << 62 // the age if there is no restore point

// grid makes the rows, and for each row the data of its days, which the page shows at the pointer.
func (e *estate) grid(failures []failure) ([]*gridRow, [][][]any) {
	anchors := map[string]string{}
	for _, f := range failures {
		anchors[f.ID] = f.Anchor
	}
	rows := e.rows()
	data := make([][][]any, len(rows))
	for i, r := range rows {
		r.Cells = make([]gridCell, e.days)
		byDay := map[int][]rpc.Backup{}
		for _, b := range r.runs {
			if d := e.dayOf(b.CreatedAt); d >= 0 && d < e.days {
				byDay[d] = append(byDay[d], b)
			}
		}
		chains := chainsOf(r.runs)
		data[i] = [][]any{}
		for d := range e.days {
			if len(byDay[d]) > 0 {
				r.Cells[d] = cellOf(byDay[d], anchors)
				data[i] = append(data[i], dataOf(d, byDay[d], chains, e.at))
			}
		}
		e.link(r)
		e.judge(r)
	}
	return rows, data
}

// rows are the VMs on record and the VMs that only have backups, sorted by name.
func (e *estate) rows() (rows []*gridRow) {
	capacity := map[string]int64{}
	runs := map[string]map[string][]rpc.Backup{}
	for _, vm := range e.vms {
		capacity[vm.VMName], runs[vm.VMName] = describe.TotalBytes(vm), map[string][]rpc.Backup{}
	}
	for _, b := range e.backups {
		if runs[b.VMName] == nil {
			runs[b.VMName] = map[string][]rpc.Backup{}
		}
		runs[b.VMName][b.RepositoryID] = append(runs[b.VMName][b.RepositoryID], b)
	}
	for vm, repositories := range runs {
		size, onRecord := capacity[vm]
		if len(repositories) == 0 {
			rows = append(rows, &gridRow{VM: vm, OnRecord: onRecord, Capacity: size})
		}
		for id, list := range repositories {
			r := &gridRow{VM: vm, OnRecord: onRecord, Capacity: size, runs: list}
			if !onRecord {
				r.Capacity = list[len(list)-1].TotalBytes
			}
			if len(repositories) > 1 {
				r.Repository = id
			}
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b *gridRow) int {
		return strings.Compare(strings.ToLower(a.VM)+"\x00"+a.VM+"\x00"+a.Repository, strings.ToLower(b.VM)+"\x00"+b.VM+"\x00"+b.Repository)
	})
	return rows
}

// marks are the ways to draw a backup. A day gets the first one that one of its backups has.
var marks = []struct {
	class, text string
	is          func(b rpc.Backup) bool
}{
	{"f", "full", func(b rpc.Backup) bool { return isGood(b) && b.BackupType == rpc.Full }},
	{"i", "incremental", isGood},
	{"d", "damaged", func(b rpc.Backup) bool { return b.State == rpc.Completed }},
	{"a", "running", func(b rpc.Backup) bool { return !b.State.Ended() }},
	{"x", "failed", func(b rpc.Backup) bool { return b.State == rpc.Failed }},
	{"c", "cancelled", func(b rpc.Backup) bool { return b.State == rpc.Cancelled || b.State == rpc.Deleting }},
}

// cellOf draws a day: a restore point if there is one, with a mark in the corner if another backup failed.
func cellOf(list []rpc.Backup, anchors map[string]string) (c gridCell) {
	for _, m := range marks {
		if slices.ContainsFunc(list, m.is) {
			c.Class, c.Text = m.class, m.text
			break
		}
	}
	for _, b := range list {
		if b.State == rpc.Failed {
			c.Anchor = anchors[b.BackupID]
		}
	}
	if c.Anchor != "" && c.Class != "x" {
		c.Class += " e"
		c.Text += ", one failed"
	}
	if len(list) > 1 {
		c.Count = len(list)
		c.Text += fmt.Sprintf(", %d backups", len(list))
	}
	return c
}

// chainsOf numbers the chains of restore points from 0. A chain is known by its root, which may be older than the shown days.
func chainsOf(runs []rpc.Backup) map[string]int {
	root := map[string]string{}
	number, chains := map[string]int{}, map[string]int{}
	for _, b := range runs {
		if b.State != rpc.Completed {
			continue
		}
		r := b.BackupID
		if b.ParentBackupID != "" {
			r = b.ParentBackupID
			if of, ok := root[r]; ok {
				r = of
			}
		}
		root[b.BackupID] = r
		if _, ok := number[r]; !ok {
			number[r] = len(number)
		}
		chains[b.BackupID] = number[r]
	}
	return chains
}

// link draws the lines from each incremental to its parent.
func (e *estate) link(r *gridRow) {
	days := map[string]int{}
	for _, b := range r.runs {
		if b.State != rpc.Completed {
			continue
		}
		to := e.dayOf(b.CreatedAt)
		days[b.BackupID] = to
		if b.ParentBackupID == "" {
			continue
		}
		from, ok := days[b.ParentBackupID]
		if !ok {
			from = -1
		}
		for d := max(from, 0); d <= to && d < e.days; d++ {
			if d > from {
				r.Cells[d].draw("l")
			}
			if d < to {
				r.Cells[d].draw("r")
			}
		}
	}
}

func (c *gridCell) draw(class string) {
	if !slices.Contains(strings.Fields(c.Class), class) {
		c.Class = strings.TrimSpace(c.Class + " " + class)
	}
}

// judge fills the totals of a row, and says whether it needs attention.
func (e *estate) judge(r *gridRow) {
	for _, b := range r.runs {
		if b.State == rpc.Completed {
			r.Points++
			r.Received += b.BytesTransferred
		}
	}
	r.Last, r.age = "never", never
	if b, ok := e.last[r.VM]; ok {
		r.LastAt, r.age = b.CreatedAt, e.at.Sub(b.CreatedAt)
		r.Last = human.Duration(r.age) + " ago"
	}
	newest, damaged := rpc.Backup{}, false
	for _, b := range r.runs {
		if b.State == rpc.Completed && b.Sequence >= newest.Sequence { // the last one made, whatever its date
			newest, damaged = b, b.Damaged()
		}
	}
	ended := slices.DeleteFunc(slices.Clone(r.runs), func(b rpc.Backup) bool {
		return b.State != rpc.Completed && b.State != rpc.Failed || b.FutureDated
	})
	future := slices.ContainsFunc(r.runs, func(b rpc.Backup) bool { return b.FutureDated })
	switch {
	case !r.OnRecord:
	case damaged:
		r.Mood, r.Why, r.hint = "bad", "its newest restore point "+damageText(newest), hint.StartCommand(r.VM, "--type full --wait")
	case r.age == never && future:
		r.Mood, r.Why, r.hint = "bad", "its restore points are dated in the future, so their age is not known", "correct the clock, then make a backup"
	case r.age == never:
		r.Mood, r.Why, r.hint = "bad", "it has no restore point", hint.StartCommand(r.VM, "--wait")
	case len(ended) > 0 && ended[len(ended)-1].State == rpc.Failed:
		b := ended[len(ended)-1]
		r.Mood, r.Why = "bad", "its last backup failed"
		if b.Failure != nil {
			r.Why, r.hint = "its last backup failed: "+b.Failure.Message, b.Failure.Hint
		}
	case e.stale(r.VM):
		r.Mood, r.Why, r.hint = "warn", "its newest restore point is from "+human.ShortTime(r.LastAt)+", "+e.wants(r.VM), "check that it is still scheduled"
	case future:
		r.Mood, r.Why, r.hint = "warn", "a restore point is dated in the future", "a clock was or is wrong; check with sendensectl backup chain"
	}
}

// damageText describes the damage of a restore point.
func damageText(b rpc.Backup) string {
	if b.Verified != nil && len(b.Verified.Damage) > 0 {
		d := b.Verified.Damage[0]
		return "is damaged: " + human.Safe(d.File+" "+d.Problem)
	}
	return "is based on " + b.InheritedFrom[0] + ", which is damaged"
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// dataOf is the data of a day: its number, then for each backup its id, time, type, state, received, took, repository, chain (-1
// for none) and parent, and, for a failure or damage, message and hint.
func dataOf(d int, list []rpc.Backup, chains map[string]int, now time.Time) []any {
	data := []any{d}
	for _, b := range list {
		end := b.EndedAt
		if end.IsZero() {
			end = now
		}
		chain, ok := chains[b.BackupID]
		if !ok {
			chain = -1
		}
		row := []any{
			b.BackupID, b.CreatedAt.In(now.Location()).Format("15:04"), string(b.BackupType), string(b.State), human.Size(b.BytesTransferred),
			human.Duration(end.Sub(b.CreatedAt)), b.RepositoryID, chain, b.ParentBackupID,
		}
		if b.Failure != nil {
			row = append(row, b.Failure.Message, b.Failure.Hint)
		} else if b.State == rpc.Completed && b.Damaged() {
			row[3] = "damaged"
			row = append(row, capital(damageText(b)), "")
		}
		data = append(data, row)
	}
	return data
}
