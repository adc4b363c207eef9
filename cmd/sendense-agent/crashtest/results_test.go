package crashtest_test

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// results are what became of the backups of all kills, faultResults of those of all faults.
var (
	results      = table{head: "OPERATION\tKILLED AT\tTIMES\tTHE BACKUP IS\tSECONDS"}
	faultResults = table{head: "FAULT\tPROMISED\tTIMES\tTHE BACKUP IS\tSECONDS"}
)

type table struct {
	head  string
	mu    sync.Mutex
	cases int
	rows  map[string]*row
}

type row struct {
	operation, point string
	outcomes         map[string]int
	times            int
	took             time.Duration
}

// add notes one case. Cases of the same operation and point share a row. Who walks the matrix for minutes sees how far it is.
func (t *table) add(operation, point, outcome string, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cases++; *extent != "sample" {
		fmt.Printf("%d: %s, killed at %s: %s\n", t.cases, operation, point, outcome)
	}
	if t.rows == nil {
		t.rows = map[string]*row{}
	}
	key := operation + "\x00" + point
	r := t.rows[key]
	if r == nil {
		r = &row{operation: operation, point: point, outcomes: map[string]int{}}
		t.rows[key] = r
	}
	r.times++
	r.outcomes[outcome]++
	r.took += took
}

func (t *table) print(w io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rows) == 0 {
		return
	}
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, t.head)
	for _, key := range slices.Sorted(maps.Keys(t.rows)) {
		r := t.rows[key]
		var outcomes []string
		for _, o := range slices.Sorted(maps.Keys(r.outcomes)) {
			if r.outcomes[o] < r.times {
				o = fmt.Sprintf("%s %d", o, r.outcomes[o])
			}
			outcomes = append(outcomes, o)
		}
		fmt.Fprintf(tab, "%s\t%s\t%d\t%s\t%.1f\n", r.operation, r.point, r.times, strings.Join(outcomes, ", "),
			r.took.Seconds()/float64(r.times))
	}
	_ = tab.Flush() // to a terminal or a pipe that has gone
}

// powerResults are what TestPowerLoss looked at.
var powerResults powerTable

type powerTable struct {
	mu   sync.Mutex
	rows []powerRow
}

type powerRow struct {
	operation               string
	written, states, starts int
	took                    time.Duration
}

func (t *powerTable) add(r powerRow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

func (t *powerTable) print(w io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rows) == 0 {
		return
	}
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "OPERATION\tTAKEN DOWN\tSTATES OF THE DISK\tSTARTS ON ONE\tSECONDS")
	for _, r := range t.rows {
		fmt.Fprintf(tab, "%s\t%d\t%d\t%d\t%.1f\n", r.operation, r.written, r.states, r.starts, r.took.Seconds())
	}
	_ = tab.Flush() // to a terminal or a pipe that has gone
}
