package report

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creachadair/jrpc2/handler"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/command/commandtest"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/exit"
	"github.com/sendense/backup-agent/rpc"
)

const hostile = `</script><script>alert(1)</script>"><img src=x onerror=alert(1)>'` + "\u202e{{.}}"

// render writes the page of an estate and parses it.
func render(t *testing.T, e *estate) (*html.Node, string) {
	t.Helper()
	var b bytes.Buffer
	if err := e.page().write(&b); err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return doc, b.String()
}

func all(doc *html.Node, is func(*html.Node) bool) (list []*html.Node) {
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && is(n) {
			list = append(list, n)
		}
	}
	return list
}

func elements(doc *html.Node, a atom.Atom) []*html.Node {
	return all(doc, func(n *html.Node) bool { return n.DataAtom == a })
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// aWeek is a week of three VMs, one with a hostile name: a chain that began earlier, a new chain, and every other state of a backup.
func aWeek() *estate {
	now := time.Date(2026, 11, 25, 9, 30, 0, 0, time.Local)
	e := &estate{
		at: now, from: time.Date(2026, 11, 19, 0, 0, 0, 0, time.Local), days: 7, host: "hub", last: map[string]rpc.Backup{},
		status: rpc.AgentStatus{Version: hostile, BusConnected: true},
		vms:    []rpc.VM{{VMName: "pg", Disks: []rpc.Disk{{CapacityBytes: 40 << 30}}}, {VMName: hostile}, {VMName: "never"}},
		repositories: []rpc.Repository{
			{RepositoryID: "main", Path: hostile, FreeBytes: 1 << 40, TotalBytes: 4 << 40, RestorePoints: 9},
			{RepositoryID: "old", Error: hostile},
			{RepositoryID: "nas", State: "stuck", StuckSince: now, StuckOperation: hostile, Paused: &rpc.Pause{Since: now, Reason: hostile}},
		},
	}
	add := func(day int, vm, id, parent string, state rpc.BackupState) {
		b := rpc.Backup{
			BackupID: id, VMName: vm, BackupType: rpc.Full, ParentBackupID: parent, RepositoryID: "main", State: state, BytesTransferred: 3 << 30,
			CreatedAt: e.from.AddDate(0, 0, day).Add(2 * time.Hour), Tags: map[string]string{hostile: hostile},
		}
		if parent != "" {
			b.BackupType = rpc.Incremental
		}
		if state == rpc.Failed {
			b.Failure = &rpc.Failure{Reason: rpc.ReasonSNARefused, Message: "no licence " + hostile, Hint: "buy one " + hostile, Journal: []string{hostile}}
		}
		if state == rpc.Completed {
			e.last[vm] = b
		}
		e.backups = append(e.backups, b)
	}
	add(0, "pg", "p1", "p0", rpc.Completed)
	add(1, "pg", "p2", "p1", rpc.Completed)
	add(2, "pg", "p3", "", rpc.Completed)
	add(3, "pg", "p4", "", rpc.Failed)
	add(4, "pg", "p5", "", rpc.Cancelled)
	add(5, "pg", "p6", "p3", rpc.Completed)
	add(5, "pg", "p7", "p6", rpc.Failed)
	add(6, "pg", "p8", "p6", rpc.Running)
	add(6, hostile, "h1", "", rpc.Failed)
	return e
}

func TestReportShowsWhatThereIs(t *testing.T) {
	doc, _ := render(t, aWeek())
	rows := map[string]*html.Node{}
	for _, tr := range elements(elements(doc, atom.Tbody)[0], atom.Tr) {
		rows[strings.TrimSpace(textOf(elements(tr, atom.Th)[0]))] = tr
	}
	if len(rows) != 3 {
		t.Fatalf("%d rows", len(rows))
	}
	var classes, texts []string
	for _, td := range elements(rows["pg"], atom.Td) {
		classes, texts = append(classes, attribute(td, "class")), append(texts, textOf(td))
	}
	wantClasses := []string{"i l r", "i l", "f r", "x l r", "c l r", "i e l", "a", "n age", "n", "n", "n"}
	wantTexts := []string{"incremental", "incremental", "full", "failed", "cancelled", "incremental, one failed, 2 backups", "running", "31h30m ago", "4", "12 GiB", "40 GiB"}
	if !slices.Equal(classes, wantClasses) || !slices.Equal(texts, wantTexts) {
		t.Errorf("got  %q %q\nwant %q %q", classes, texts, wantClasses, wantTexts)
	}
	if class := attribute(rows["never"], "class"); class != "bad" {
		t.Errorf("a VM without a restore point has the class %q", class)
	}
	page := textOf(elements(doc, atom.Main)[0])
	for _, want := range []string{"no licence", "buy one", "sna_refused", "1 TiB free", "75 % used", "9 restore points, 4 on these days", "It is stuck since ", "It is paused since ", "1 full, 3 incremental", "it has no restore point", "sendensectl backup start never --wait"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// TestReportShowsDamage: a restore point that is based on a damaged one is drawn as damaged, and is not the last good one of its VM.
func TestReportShowsDamage(t *testing.T) {
	e := aWeek()
	for i := range e.backups {
		switch b := &e.backups[i]; b.BackupID {
		case "p3":
			b.Verified = &rpc.Verification{At: e.at, Damage: []rpc.VerifyDamage{{File: "x.qcow2", Problem: "is missing <b>"}}}
		case "p6":
			b.InheritedFrom = []string{"p3"}
			if b.State != rpc.Completed {
				t.Fatalf("p6 is %s", b.State)
			}
		}
	}
	e.last = map[string]rpc.Backup{}
	for _, b := range e.backups {
		if isGood(b) {
			e.last[b.VMName] = b
		}
	}
	doc, page := render(t, e)
	var texts []string
	for _, td := range elements(elements(doc, atom.Tbody)[0], atom.Td) {
		if attribute(td, "class") == "d r" || strings.HasPrefix(attribute(td, "class"), "d ") {
			texts = append(texts, textOf(td))
		}
	}
	if want := []string{"damaged", "damaged, one failed, 2 backups"}; !slices.Equal(texts, want) {
		t.Errorf("drawn as damaged: %q, want %q", texts, want)
	}
	for _, want := range []string{"its newest restore point is based on p3, which is damaged", "sendensectl backup start pg --type full --wait", "2 damaged"} {
		if !strings.Contains(textOf(elements(doc, atom.Main)[0]), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(page, "missing <b>") || strings.Count(page, `,"damaged",`) != 2 {
		t.Errorf("the data of the page: %d damaged", strings.Count(page, `,"damaged",`))
	}
}

// TestReportLinks: every link leads to an element of the page, and the ids are unique.
func TestReportLinks(t *testing.T) {
	doc, _ := render(t, aWeek())
	places := map[string]bool{}
	for _, n := range all(doc, func(n *html.Node) bool { return attribute(n, "id") != "" }) {
		if id := attribute(n, "id"); places[id] {
			t.Errorf("two places are called %s", id)
		} else {
			places[id] = true
		}
	}
	links := elements(doc, atom.A)
	if len(links) < 5 {
		t.Errorf("%d links", len(links))
	}
	for _, a := range links {
		if to, ok := strings.CutPrefix(attribute(a, "href"), "#"); !ok || !places[to] {
			t.Errorf("a link to %q", attribute(a, "href"))
		}
	}
}

// TestReportIsHarmless: whatever the name of a VM, the page is one file that runs only its own script and loads nothing.
func TestReportIsHarmless(t *testing.T) {
	doc, page := render(t, aWeek())
	if n := len(elements(doc, atom.Script)); n != 2 {
		t.Errorf("%d scripts, want the data and the page's own", n)
	}
	for _, n := range all(doc, func(*html.Node) bool { return true }) {
		if slices.Contains([]string{"img", "link", "iframe", "object", "embed", "base", "video", "audio"}, n.Data) {
			t.Errorf("there is a %s", n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "srcset" || a.Key == "action" {
				t.Errorf("%s has an attribute %s=%q", n.Data, a.Key, a.Val)
			}
		}
	}
	outside := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9]|@import|url\(([^"]|"[^d])`)
	own := strings.NewReplacer("xmlns='http://www.w3.org/2000/svg'", "").Replace(page)
	if found := outside.FindString(own); found != "" {
		t.Errorf("the page reaches out with %q", found)
	}
	if strings.ContainsRune(page, '\u202e') {
		t.Error("a name can turn the writing around")
	}
	var data [][][]any
	for _, s := range elements(doc, atom.Script) {
		if attribute(s, "type") == "application/json" {
			if err := json.Unmarshal([]byte(textOf(s)), &data); err != nil {
				t.Fatal(err)
			}
		}
	}
	days := 0
	for _, row := range data {
		days += len(row)
	}
	if len(data) != 3 || days != 8 {
		t.Errorf("the data are of %d rows and %d days", len(data), days)
	}
}

// TestReportOfMany: a page of 300 VMs and 90 days has a reasonable size.
func TestReportOfMany(t *testing.T) {
	doc, page := render(t, bigEstate(300, 90))
	if n := len(elements(elements(doc, atom.Tbody)[0], atom.Tr)); n != 300 {
		t.Errorf("%d rows", n)
	}
	if len(page) > 8<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
}

func TestReportCommand(t *testing.T) {
	e := aWeek()
	asked, runsAsked := 0, 0
	socket := commandtest.FakeAgent(t, handler.Map{
		rpc.MethodAgentStatus: handler.New(func(context.Context, rpc.None) rpc.AgentStatus {
			return rpc.AgentStatus{BusConnected: true, Repositories: e.repositories}
		}),
		rpc.MethodVMList: handler.New(func(_ context.Context, q rpc.VMQuery) rpc.VMPage {
			if q.Cursor == "" {
				return rpc.VMPage{VMs: e.vms[:1], NextCursor: "pg"}
			}
			return rpc.VMPage{VMs: e.vms[1:]}
		}),
		rpc.MethodBackupList: handler.New(func(_ context.Context, q rpc.BackupQuery) rpc.BackupPage {
			if q.Limit == 1 {
				asked++
				return rpc.BackupPage{Backups: []rpc.Backup{{BackupID: "old", VMName: q.VMName, State: rpc.Completed, CreatedAt: time.Now().AddDate(-1, 0, 0)}}}
			}
			newest := slices.Clone(e.backups)
			slices.Reverse(newest)
			if q.Cursor == "" {
				return rpc.BackupPage{Backups: newest[:4], NextCursor: "4"}
			}
			return rpc.BackupPage{Backups: newest[4:]}
		}),
		rpc.MethodGroupList: handler.New(func(context.Context, rpc.None) rpc.GroupList { return rpc.GroupList{} }),
		rpc.MethodRunList: handler.New(func(_ context.Context, q rpc.RunQuery) (list rpc.RunList) {
			runsAsked++
			for i := range 1500 { // two answers
				due := time.Now().Add(-time.Duration(i) * time.Minute).Truncate(time.Minute)
				if (q.Until.IsZero() || due.Before(q.Until)) && len(list.Runs) < q.Limit {
					list.Runs = append(list.Runs, rpc.Run{RunID: fmt.Sprint(due.Unix()), GroupIDs: []string{"web"}, Due: due, State: rpc.RunCompleted})
				}
			}
			return list
		}),
	})
	file := filepath.Join(t.TempDir(), "page.html")
	code, stdout, stderr := ctl(t, socket, "", "report", "--html", file, "--days", "300")
	if code != exit.OK || !strings.Contains(stdout, "3 VMs, 300 days") || stderr != "" {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if runsAsked != 2 || !strings.Contains(string(written), "web <small>not configured</small>") {
		t.Errorf("the runs were asked for %d times", runsAsked)
	}
	if asked != 2 { // for the VMs without a restore point on these days
		t.Errorf("asked for the last restore point of %d VMs", asked)
	}
	code, stdout, _ = ctl(t, socket, "", "report", "--html", "-", "--days", "300")
	if code != exit.OK || !strings.HasPrefix(stdout, "<!DOCTYPE html>") || !strings.HasPrefix(string(written), "<!DOCTYPE html>") {
		t.Errorf("%d %.40q %.40q", code, stdout, written)
	}
	nowhere := filepath.Join(t.TempDir(), "not", "there.html")
	code, _, stderr = ctl(t, socket, "", "report", "--html", nowhere, "--days", "300")
	if code != exit.Failed || stderr != "sendensectl: report: "+nowhere+" cannot be written: no such file or directory\n" {
		t.Errorf("%d %q", code, stderr)
	}
	for _, args := range [][]string{{}, {"--html", "x", "--days", "0"}, {"--html", "x", "--days", "367"}} {
		if code, _, stderr := ctl(t, socket, "", append([]string{"report"}, args...)...); code != exit.Usage {
			t.Errorf("%q: %d %s", args, code, stderr)
		}
	}
}
