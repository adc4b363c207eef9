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

// results are what became of the backups of all cases, in the order in which the points were first reached.
var results table

type table struct {
	mu   sync.Mutex
	rows map[string]*row
}

type row struct {
	operation, point string
	outcomes         map[string]int
	times            int
	took             time.Duration
}

// add notes one case. Cases of the same operation and point share a row.
func (t *table) add(operation, point, outcome string, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
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
	fmt.Fprintln(tab, "OPERATION\tKILLED AT\tTIMES\tTHE BACKUP IS\tSECONDS")
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
