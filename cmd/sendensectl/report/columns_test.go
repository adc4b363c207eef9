package report

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/sendense/backup-agent/rpc"
)

// TestMonths: every column belongs to the month and year of its day.
func TestMonths(t *testing.T) {
	for _, c := range []struct {
		from string
		days int
		want []month
	}{
		{"2026-11-25", 1, []month{{"Nov", "2026", 1}}},
		{"2026-11-01", 30, []month{{"Nov", "2026", 30}}},
		{"2026-11-30", 34, []month{{"Nov", "2026", 1}, {"Dec", "2026", 31}, {"Jan", "2027", 2}}},
		{"2028-02-01", 30, []month{{"Feb", "2028", 29}, {"Mar", "2028", 1}}},
	} {
		from, err := time.ParseInLocation(time.DateOnly, c.from, time.Local)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&estate{from: from, days: c.days}).months(); !slices.Equal(got, c.want) {
			t.Errorf("%d days from %s: %v, want %v", c.days, c.from, got, c.want)
		}
	}
}

// TestReceivedIsSeen: the bar of a day of incrementals is seen beside a day of full backups, and a day without backups has none.
func TestReceivedIsSeen(t *testing.T) {
	from := time.Date(2026, 11, 19, 0, 0, 0, 0, time.Local)
	e := &estate{at: from.AddDate(0, 0, 4), from: from, days: 5}
	for i, received := range []uint64{1 << 40, 1 << 34, 1, 0} {
		e.backups = append(e.backups, rpc.Backup{State: rpc.Completed, CreatedAt: from.AddDate(0, 0, i).Add(time.Hour), BytesTransferred: received})
	}
	var bars []int
	for _, d := range e.columns() {
		bars = append(bars, d.Bar)
	}
	if want := []int{100, 13, 1, 0, 0}; !slices.Equal(bars, want) {
		t.Errorf("bars of %v percent, want %v", bars, want)
	}
}

// TestReportTellsNamesApart: long names that differ at their end, at their beginning or in the middle are shown whole.
func TestReportTellsNamesApart(t *testing.T) {
	e := aWeek()
	long := strings.Repeat("customer-4711-", 20)
	e.vms = []rpc.VM{{VMName: long + "a"}, {VMName: long + "b"}, {VMName: "c" + long}}
	doc, _ := render(t, e)
	var names []string
	for _, tr := range elements(elements(doc, atom.Tbody)[0], atom.Tr) {
		names = append(names, strings.TrimSpace(textOf(elements(tr, atom.Th)[0])))
	}
	for _, vm := range e.vms {
		if !slices.Contains(names, vm.VMName) {
			t.Errorf("%s is not shown whole", vm.VMName)
		}
	}
	if style := pageFile("page.css"); strings.Contains(style, "ellipsis") {
		t.Error("the style cuts texts")
	}
}

// TestReportTellsAges: a VM that needs attention, and every failure, has the age of the newest restore point, if there is one.
func TestReportTellsAges(t *testing.T) {
	doc, _ := render(t, aWeek())
	class := func(name string) func(*html.Node) bool {
		return func(n *html.Node) bool { return attribute(n, "class") == name }
	}
	for _, c := range []struct {
		list string
		want []string // the newest restore point of pg is of the 24th, 02:00
	}{
		{"attention", []string{"pg: newest restore point 31h30m ago"}},
		{"failures", []string{"pg: newest restore point 31h30m ago", "pg: newest restore point 31h30m ago"}},
	} {
		var got []string
		for _, li := range elements(all(doc, class(c.list))[0], atom.Li) {
			for _, newest := range all(li, class("newest")) {
				name := "pg"
				if !strings.Contains(textOf(li), name) {
					name = textOf(li)
				}
				got = append(got, name+": "+textOf(newest))
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.list, got, c.want)
		}
	}
}

// TestReportForPaper: many days need larger paper, and a screen reader gets the months, the bars and the table's name in words.
func TestReportForPaper(t *testing.T) {
	for days, paper := range map[int]string{30: "A4", 45: "A4", 46: "A3", 90: "A3"} {
		doc, page := render(t, bigEstate(2, days))
		if !strings.Contains(page, "@page { size: "+paper+" landscape; }") {
			t.Errorf("%d days are not printed on %s", days, paper)
		}
		columns, tables := 0, len(elements(doc, atom.Table))
		for _, th := range all(doc, func(n *html.Node) bool { return attribute(n, "scope") == "colgroup" }) {
			columns += atoi(t, attribute(th, "colspan"))
			if attribute(th, "abbr") != strings.TrimSpace(textOf(th)) {
				t.Errorf("the month %q is read as %q", textOf(th), attribute(th, "abbr"))
			}
		}
		if tables != 2 || columns != tables*days {
			t.Errorf("the months of %d tables have %d days, not %d each", tables, columns, days)
		}
		if len(elements(doc, atom.Caption)) != tables {
			t.Error("a table has no name")
		}
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
