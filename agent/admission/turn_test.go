package admission

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A hub is a model of the agent around the choice: backups arrive, start and end, restores come and go, repositories close and open.
type hub struct {
	limits   Limits
	queue    []Queued
	running  []Queued
	restores int // exported disks
	closed   map[string]bool
	turns    Turns
	arrived  int
	waited   map[string]int // how many others started while the backup was the first one of its open repository
}

const repositories = 4

func newHub(t *rapid.T) *hub {
	h := &hub{closed: map[string]bool{}, waited: map[string]int{}}
	h.limits = Limits{
		Backups: rapid.IntRange(0, 5).Draw(t, "max_backups"), Exports: rapid.IntRange(2, 12).Draw(t, "max_exports"), Repository: map[string]int{},
	}
	for i := range repositories {
		h.limits.Repository[name(i)] = rapid.IntRange(0, 3).Draw(t, "max_backups of the repository")
	}
	return h
}

func name(i int) string { return fmt.Sprintf("r%d", i) }

func (h *hub) load() Load {
	l := Load{Exports: h.restores, Held: h.restores}
	for _, q := range h.running {
		l = l.add(q)
		if h.closed[q.Repository] {
			l.Backups-- // it does not answer, so it does not count
			l.Held += q.Disks
		}
	}
	return l
}

// first is the first backup of a repository in the queue.
func (h *hub) first(repository string) (Queued, bool) {
	i := slices.IndexFunc(h.queue, func(q Queued) bool { return q.Repository == repository })
	if i < 0 {
		return Queued{}, false
	}
	return h.queue[i], true
}

// admissible lists the first backups of the repositories that could start now, if no turn mattered.
func (h *hub) admissible() (list []Queued) {
	l := h.load()
	if h.limits.Backups > 0 && l.Backups >= h.limits.Backups {
		return nil
	}
	for i := range repositories {
		q, found := h.first(name(i))
		limit := h.limits.Repository[name(i)]
		if found && !h.closed[name(i)] && (limit == 0 || l.Repository[name(i)] < limit) && l.Exports+q.Disks <= h.limits.Exports {
			list = append(list, q)
		}
	}
	return list
}

func (h *hub) arrive(t *rapid.T) {
	h.arrived++
	h.queue = append(h.queue, Queued{
		ID: fmt.Sprintf("b%d", h.arrived), Repository: name(rapid.IntRange(0, repositories-1).Draw(t, "repository")),
		Disks: rapid.IntRange(1, h.limits.Exports).Draw(t, "disks"),
	})
}

// start starts everything that may start, and checks every choice.
func (h *hub) start(t *rapid.T) {
	for {
		possible := h.admissible()
		c := Next(h.queue, h.load(), h.limits, h.closed, h.turns)
		if !c.Found {
			if len(possible) > 0 && c.Kept == "" {
				t.Fatalf("nothing starts, although %v could: %+v", possible, h)
			}
			if c.Kept != "" && h.turns.passed[c.Kept] < MaxPassed {
				t.Fatalf("room is kept for %s, which was passed %d times", c.Kept, h.turns.passed[c.Kept])
			}
			return
		}
		if !slices.Contains(possible, c.Next) {
			t.Fatalf("%+v starts, and may not: %+v", c.Next, h)
		}
		h.started(t, c)
	}
}

// started moves a backup from the queue to the running ones, and counts it for those that wait.
func (h *hub) started(t *rapid.T, c Choice) {
	h.turns = h.turns.After(c)
	l := h.load()
	for i := range repositories {
		q, found := h.first(name(i))
		limit := h.limits.Repository[name(i)]
		if found && q.ID != c.Next.ID && !h.closed[name(i)] && (limit == 0 || l.Repository[name(i)] < limit) && l.Held+q.Disks <= h.limits.Exports {
			// Others of the same age may also have been passed too often, and each repository may be served once before it.
			if h.waited[q.ID]++; h.waited[q.ID] > MaxPassed+2*repositories {
				t.Fatalf("%s waits although %d others have started: %+v", q.ID, h.waited[q.ID], h)
			}
		}
	}
	i := slices.Index(h.queue, c.Next)
	for _, earlier := range h.queue[:i] {
		if earlier.Repository == c.Next.Repository {
			t.Fatalf("%s starts before %s of the same repository", c.Next.ID, earlier.ID)
		}
	}
	h.queue = slices.Delete(h.queue, i, i+1)
	h.running = append(h.running, c.Next)
}

func (h *hub) end(t *rapid.T) {
	answering := slices.IndexFunc(h.running, func(q Queued) bool { return !h.closed[q.Repository] })
	if answering < 0 {
		t.Skip("none can end")
	}
	at := rapid.IntRange(answering, len(h.running)-1).Draw(t, "which")
	if h.closed[h.running[at].Repository] {
		at = answering
	}
	h.running = slices.Delete(h.running, at, at+1)
}

// TestNoStarvation: over random arrivals, ends and closed repositories, a slot and a backup that could use it are never both idle,
// repositories keep their order, and each backup starts after a bounded number of others.
func TestNoStarvation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHub(t)
		t.Repeat(map[string]func(*rapid.T){
			"arrive": func(t *rapid.T) { h.arrive(t); h.start(t) },
			"end":    func(t *rapid.T) { h.end(t); h.start(t) },
			"cancel": func(t *rapid.T) {
				if len(h.queue) == 0 {
					t.Skip("nothing is queued")
				}
				at := rapid.IntRange(0, len(h.queue)-1).Draw(t, "which")
				h.queue = slices.Delete(h.queue, at, at+1)
				h.start(t)
			},
			"close or open": func(t *rapid.T) {
				r := name(rapid.IntRange(0, repositories-1).Draw(t, "repository"))
				h.closed[r] = !h.closed[r]
				h.start(t)
			},
			"restore": func(t *rapid.T) {
				h.restores = rapid.IntRange(0, max(0, h.limits.Exports/2)).Draw(t, "exports of restores")
				h.start(t)
			},
		})
		h.drain(t)
	})
}

// drain ends everything that runs, with all repositories open, until the queue is empty.
func (h *hub) drain(t *rapid.T) {
	h.closed, h.restores = map[string]bool{}, 0
	for h.start(t); len(h.queue) > 0; h.start(t) {
		if len(h.running) == 0 {
			t.Fatalf("nothing runs and nothing starts: %+v", h)
		}
		h.running = h.running[1:]
	}
}

func TestTurnsOfRepositories(t *testing.T) {
	var queue []Queued
	for i := range 6 {
		queue = append(queue, Queued{ID: fmt.Sprint("a", i), Repository: "a", Disks: 1})
	}
	queue = append(queue, Queued{ID: "b0", Repository: "b", Disks: 1}, Queued{ID: "b1", Repository: "b", Disks: 1}, Queued{ID: "stuck", Repository: "c", Disks: 1})
	var order []string
	var turns Turns
	for {
		c := Next(queue, Load{}, Limits{Backups: 1, Exports: 10}, map[string]bool{"c": true}, turns)
		if !c.Found {
			break
		}
		turns = turns.After(c)
		order = append(order, c.Next.ID)
		queue = slices.DeleteFunc(queue, func(q Queued) bool { return q.ID == c.Next.ID })
	}
	if want := []string{"a0", "b0", "a1", "b1", "a2", "a3", "a4", "a5"}; !slices.Equal(order, want) {
		t.Errorf("the order is %q, want %q", order, want)
	}
}

// TestRoomIsKept: a backup of many disks is passed by small ones of another repository MaxPassed times. Then nothing starts before it.
func TestRoomIsKept(t *testing.T) {
	limits := Limits{Exports: 8}
	load := Load{Exports: 3, Backups: 3}
	queue := []Queued{{ID: "large", Repository: "a", Disks: 8}}
	var turns Turns
	for i := range MaxPassed + 1 {
		c := Next(append(queue, Queued{ID: fmt.Sprint("small", i), Repository: "b", Disks: 1}), load, limits, nil, turns)
		if passes := i < MaxPassed; c.Found != passes || passes == (c.Kept == "large") {
			t.Fatalf("after %d: %+v", i, c)
		}
		if c.Found {
			turns = turns.After(c)
		}
	}
	if c := Next(queue, Load{}, limits, nil, turns); c.Next.ID != "large" {
		t.Errorf("with all ports free %+v starts", c)
	}
	// Restores hold its ports: the end of backups does not help, so room is not kept.
	small := append(queue, Queued{ID: "small", Repository: "b", Disks: 1})
	if c := Next(small, Load{Exports: 4, Held: 3, Backups: 1}, limits, nil, turns); c.Next.ID != "small" {
		t.Errorf("with ports of restores %+v", c)
	}
}
