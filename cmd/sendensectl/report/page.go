package report

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"slices"
	"time"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/describe"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/rpc"
)

//go:embed page.css page.html page.js
var pageFiles embed.FS

func pageFile(name string) string {
	data, err := pageFiles.ReadFile(name)
	if err != nil {
		panic(err) // it is not embedded
	}
	return string(data)
}

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"size":     func(n uint64) string { return human.Size(n) },
	"capacity": func(n int64) string { return human.Size(n) },
	"time":     human.Time,
	"count":    human.Count,
	"are":      human.CountAre,
	"iso":      func(t time.Time) string { return t.Format(time.RFC3339) },
	"next":     func(i int) int { return i + 1 },
}).Parse(pageFile("page.html")))

func (p *page) write(w *bytes.Buffer) error { return pageTemplate.Execute(w, p) }

// stale says whether the newest restore point of a VM is older than the VM wants.
func (e *estate) stale(vm string) bool { return e.wanted[vm].Overdue }

// wants says how often a VM wants a restore point; "" if it wants none.
func (e *estate) wants(vm string) string {
	seconds := e.wanted[vm].IntervalSeconds
	if seconds == 0 {
		return ""
	}
	return "wanted every " + human.Duration(time.Duration(seconds)*time.Second)
}

// A page is the data of the template.
type page struct {
	Host, Version, Agent string
	At, From             time.Time
	Zone                 string
	Days                 []day
	Months               []month
	Paper                string // A4 or A3
	Tiles                []tile
	Attention            []attention
	Rows                 []*gridRow
	Groups               []*groupRow
	Ungrouped            int // VMs that are in no group
	Failures             []failure
	Repositories         []repositoryTotal
	Bus                  bool
	Style                template.CSS
	Script               template.JS
	Data                 [][][]any // for each row, the days with backups: the day, then its backups
}

// A tile is one number at the top.
type tile struct{ Title, Value, Note, Mood string }

// attention is a VM that needs attention, and why.
type attention struct {
	VM, Why, Hint, Mood string
	Newest              string // the age of its newest restore point
	Row                 int
}

// A failure is a failed backup.
type failure struct {
	Anchor, ID, VM, Type, Repository string
	At                               time.Time
	Reason, Message, Hint            string
	Newest                           string // the age of the newest restore point of the VM
	Journal                          []string
}

// A repositoryTotal is a repository and its totals of these days.
type repositoryTotal struct {
	rpc.Repository
	Used                int // percent
	Points, Full, Other int // restore points
	Received            uint64
	Bad                 bool     // it cannot be used
	Troubles            []string // why, and that it is paused
}

func (e *estate) page() *page {
	e.clean()
	zone, _ := e.at.Zone()
	p := &page{
		Host: human.Safe(e.host), Version: e.version, Agent: human.Safe(e.status.Version), At: e.at, From: e.from, Zone: zone, Bus: e.status.BusConnected,
		Style: template.CSS(pageFile("page.css")), Script: template.JS(pageFile("page.js")),
	}
	p.Days, p.Months, p.Paper = e.columns(), e.months(), "A4"
	if e.days > 45 {
		p.Paper = "A3"
	}
	p.Failures = e.failures()
	p.Rows, p.Data = e.grid(p.Failures)
	p.Groups, p.Ungrouped = e.calendar(), e.ungrouped
	p.Repositories = e.totals()
	p.Attention = e.attention(p.Rows)
	p.Tiles = e.tiles(p)
	return p
}

// clean makes every text safe to read: characters that reverse the text or are invisible become escapes. The template escapes HTML.
func (e *estate) clean() {
	for i := range e.vms {
		e.vms[i].VMName = human.Safe(e.vms[i].VMName)
	}
	for i := range e.repositories {
		r := &e.repositories[i]
		r.RepositoryID, r.Path, r.Error = human.Safe(r.RepositoryID), human.Safe(r.Path), human.Safe(r.Error)
		r.EncryptionKey = human.Safe(r.EncryptionKey)
	}
	for i := range e.backups {
		b := &e.backups[i]
		b.VMName, b.RepositoryID = human.Safe(b.VMName), human.Safe(b.RepositoryID)
		if f := b.Failure; f != nil {
			b.Failure = &rpc.Failure{Reason: f.Reason, Message: human.Safe(f.Message), Hint: human.Safe(f.Hint), Unit: f.Unit}
			for _, line := range f.Journal {
				b.Failure.Journal = append(b.Failure.Journal, human.Safe(line))
			}
		}
	}
	last := map[string]rpc.Backup{}
	for vm, b := range e.last {
		last[human.Safe(vm)] = b
	}
	wanted := map[string]rpc.VMBackups{}
	for vm, b := range e.wanted {
		wanted[human.Safe(vm)] = b
	}
	e.last, e.wanted = last, wanted
	for i := range e.runs { // the ids are plain
		e.runs[i].Why = human.Safe(e.runs[i].Why)
	}
}

// Width is the minimum width of the grid, in CSS pixels.
func (p *page) Width() int { return 210 + 22*len(p.Days) + 4*100 }

// newest says how old the newest restore point of a VM is; "" if there is none.
func (e *estate) newest(vm string) string {
	b, ok := e.last[vm]
	if !ok {
		return ""
	}
	return "newest restore point " + human.Duration(e.at.Sub(b.CreatedAt)) + " ago"
}

// failures lists the failed backups, the newest first.
func (e *estate) failures() (list []failure) {
	for _, b := range slices.Backward(e.backups) {
		if b.State != rpc.Failed {
			continue
		}
		f := failure{
			Anchor: fmt.Sprint("failure-", len(list)+1), ID: b.BackupID, VM: b.VMName, Type: string(b.BackupType), Repository: b.RepositoryID,
			At: b.CreatedAt, Newest: e.newest(b.VMName), Reason: "unknown", Message: "the record has no details",
		}
		if b.Failure != nil {
			f.Reason, f.Message, f.Hint, f.Journal = string(b.Failure.Reason), b.Failure.Message, b.Failure.Hint, b.Failure.Journal
		}
		list = append(list, f)
	}
	return list
}

func (e *estate) totals() []repositoryTotal {
	list := make([]repositoryTotal, len(e.repositories))
	for i, r := range e.repositories {
		t := &list[i]
		t.Repository = r
		t.Bad = r.Error != "" || r.State == describe.Stuck
		for _, about := range describe.RepositoryTroubles(r) {
			t.Troubles = append(t.Troubles, human.Safe("It "+about))
		}
		if r.TotalBytes > 0 {
			t.Used = int(100 - float64(min(r.FreeBytes, r.TotalBytes))/float64(r.TotalBytes)*100)
		}
		for _, b := range e.backups {
			if b.RepositoryID != r.RepositoryID || b.State != rpc.Completed {
				continue
			}
			t.Points++
			t.Received += b.BytesTransferred
			if b.BackupType == rpc.Full {
				t.Full++
			} else {
				t.Other++
			}
		}
	}
	return list
}

// attention lists the VMs on record whose last backup failed, or whose newest restore point is old, damaged or missing. The worst
// is first.
func (e *estate) attention(rows []*gridRow) (list []attention) {
	seen := map[string]bool{}
	for i, r := range rows {
		if r.Mood == "" || seen[r.VM] || !r.OnRecord {
			continue
		}
		seen[r.VM] = true
		list = append(list, attention{VM: r.VM, Why: r.Why, Hint: r.hint, Mood: r.Mood, Newest: e.newest(r.VM), Row: i + 1})
	}
	slices.SortStableFunc(list, func(a, b attention) int {
		return cmp.Compare(rows[b.Row-1].age, rows[a.Row-1].age)
	})
	return list
}

func (e *estate) tiles(p *page) []tile {
	var points, damaged, failed, cancelled, active, lastDay int
	var received uint64
	for _, b := range e.backups {
		switch {
		case b.State == rpc.Completed:
			points++
			received += b.BytesTransferred
			if b.Damaged() {
				damaged++
			}
			if !b.FutureDated && e.at.Sub(b.CreatedAt) < 24*time.Hour {
				lastDay++
			}
		case b.State == rpc.Failed:
			failed++
		case b.State == rpc.Cancelled:
			cancelled++
		case !b.State.Ended():
			active++
		}
	}
	fresh := 0
	for _, vm := range e.vms {
		if _, ok := e.last[vm.VMName]; ok && !e.stale(vm.VMName) {
			fresh++
		}
	}
	return []tile{
		{"VMs with a recent restore point", fmt.Sprintf("%d of %d", fresh, len(e.vms)), "as often as wanted, and not damaged", mood(fresh < len(e.vms), "warn", len(e.vms) > 0)},
		{"Need attention", fmt.Sprint(len(p.Attention)), "VMs whose newest restore point is old, damaged or missing, or whose last backup failed", mood(len(p.Attention) > 0, "bad", len(e.vms) > 0)},
		{"Restore points", fmt.Sprint(points), fmt.Sprintf("%d in the last 24 hours, %d damaged", lastDay, damaged), mood(damaged > 0, "bad", false)},
		{"Failed", fmt.Sprint(failed), fmt.Sprintf("and %d cancelled", cancelled), mood(failed > 0, "bad", points > 0)},
		{"Received", human.Size(received), "over the network, for these restore points", ""},
		{"Running now", fmt.Sprint(active), "including the queue", ""},
	}
}

// mood is the word if something is wrong, "good" if it could be wrong and is not, else "".
func mood(wrong bool, word string, could bool) string {
	switch {
	case wrong:
		return word
	case could:
		return "good"
	}
	return ""
}
