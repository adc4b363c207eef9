package admission

import (
	"cmp"
	"maps"
	"slices"
)

// Queued is a backup in the queue, as far as the choice depends on it.
type Queued struct {
	ID, Repository string
	Disks          int
	Short          bool // the last attempt found too few free ports
}

// Load is what is active now. A disk that is exported uses one port.
type Load struct {
	Backups    int            // that count for limits.max_backups
	Exports    int            // disks of backups and restores
	Held       int            // those that the end of no backup frees: of restores, and in repositories that do not answer
	Repository map[string]int // backups by repository
}

// Limits are the limits of the load. 0 backups: no limit.
type Limits struct {
	Backups, Exports int
	Repository       map[string]int // backups by repository
}

// Turns is what earlier starts mean for the next one. The zero value is for no earlier start.
type Turns struct {
	starts uint64
	served map[string]uint64 // which start was the last one in a repository
	passed map[string]int    // how often a backup was passed, by id
}

// MaxPassed is how often a backup that waits for ports is passed by backups of other repositories. Then room is kept for it.
const MaxPassed = 8

// A Choice is which backup starts next, and why the first ones of the other repositories do not.
type Choice struct {
	Next   Queued
	Found  bool
	Passed []string // ids of those before it in the order, for which there are too few exports or ports
	Kept   string   // id of the backup for which the room is kept; "" = none
}

// Next returns which backup starts next: see the package comment for the rule. queue is in the order of arrival; a repository in closed
// is paused or does not answer. Next only computes.
func Next(queue []Queued, load Load, limits Limits, closed map[string]bool, turns Turns) Choice {
	var c Choice
	if limits.Backups > 0 && load.Backups >= limits.Backups {
		return c
	}
	for _, q := range turns.order(firsts(queue, load, limits, closed)) {
		if !q.Short && load.Exports+q.Disks <= limits.Exports {
			c.Next, c.Found = q, true
			return c
		}
		if turns.passed[q.ID] >= MaxPassed && load.willFit(q, limits) {
			c.Kept = q.ID
			return c
		}
		c.Passed = append(c.Passed, q.ID)
	}
	return c
}

// firsts are the backups that may start as far as their repositories are concerned: the first one of each.
func firsts(queue []Queued, load Load, limits Limits, closed map[string]bool) (list []Queued) {
	seen := map[string]bool{}
	for _, q := range queue {
		limit := limits.Repository[q.Repository]
		full := limit > 0 && load.Repository[q.Repository] >= limit
		if !seen[q.Repository] && !closed[q.Repository] && !full {
			list = append(list, q)
		}
		seen[q.Repository] = true
	}
	return list
}

// willFit says whether a backup fits when the running backups have ended. If not, it makes no sense to keep room for it.
func (l Load) willFit(q Queued, limits Limits) bool {
	return l.Exports > l.Held && l.Held+q.Disks <= limits.Exports
}

// order sorts the first backups of the repositories: those passed too often, then by when their repository was last served, then by
// arrival.
func (t Turns) order(list []Queued) []Queued {
	slices.SortStableFunc(list, func(a, b Queued) int {
		if x, y := t.passed[a.ID] >= MaxPassed, t.passed[b.ID] >= MaxPassed; x != y {
			return map[bool]int{true: -1, false: 1}[x]
		}
		return cmp.Compare(t.served[a.Repository], t.served[b.Repository])
	})
	return list
}

// After returns the turns after a choice has started.
func (t Turns) After(c Choice) Turns {
	next := Turns{t.starts + 1, maps.Clone(t.served), maps.Clone(t.passed)}
	if next.served == nil {
		next.served, next.passed = map[string]uint64{}, map[string]int{}
	}
	next.served[c.Next.Repository] = next.starts
	delete(next.passed, c.Next.ID)
	for _, id := range c.Passed {
		next.passed[id]++
	}
	return next
}

// add returns the load with one more backup.
func (l Load) add(q Queued) Load {
	l.Backups++
	l.Exports += q.Disks
	l.Repository = maps.Clone(l.Repository)
	if l.Repository == nil {
		l.Repository = map[string]int{}
	}
	l.Repository[q.Repository]++
	return l
}
