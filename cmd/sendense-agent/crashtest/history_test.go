package crashtest_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/rpc"
)

// A history is what clients asked and were answered, each with the times of question and answer.
type history struct {
	t     *testing.T
	began time.Time

	mu       sync.Mutex
	starts   map[string]int64                 // by request id: when it was first asked
	requests map[string]map[string]bool       // by request id: the backups it made
	lives    map[string][]porcupine.Operation // by backup id
	byVM     map[string][]string              // the backups seen, by VM
}

// An event is what a client did to one backup, or saw of it.
type event struct {
	kind  eventKind
	state rpc.BackupState // of sees
}

type eventKind string

const (
	asked   eventKind = "start asked"
	cancels eventKind = "cancel asked"
	deletes eventKind = "delete asked"
	exists  eventKind = "there"
	sees    eventKind = "seen"
)

// gone is the state of a backup that is not on record any more.
const gone rpc.BackupState = "gone"

// forever is the end of what may have its effect at any later time: no answer tells that a request was not heard.
const forever = math.MaxInt64

func newHistory(t *testing.T) *history {
	return &history{
		t: t, began: time.Now(), starts: map[string]int64{}, requests: map[string]map[string]bool{},
		lives: map[string][]porcupine.Operation{}, byVM: map[string][]string{},
	}
}

func (h *history) now() int64 { return int64(time.Since(h.began)) }

// add notes one event. The caller holds mu.
func (h *history) add(id string, began, ended int64, e event) {
	h.lives[id] = append(h.lives[id], porcupine.Operation{Input: e, Call: began, Return: ended})
}

func (h *history) asksStart(request string) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if _, again := h.starts[request]; !again {
		h.starts[request] = now
	}
	return now
}

// asks notes that a cancel or a deletion was asked for.
func (h *history) asks(kind eventKind, id string) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	h.add(id, now, forever, event{kind: kind})
	return now
}

// started notes that a request was answered with a backup.
func (h *history) started(began int64, request, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.made(request, id)
	h.add(id, began, h.now(), event{kind: exists})
}

// made notes which backup a request has made. The caller holds mu.
func (h *history) made(request, id string) {
	if h.requests[request] == nil {
		h.requests[request] = map[string]bool{}
	}
	if !h.requests[request][id] {
		h.requests[request][id] = true
		h.add(id, h.starts[request], forever, event{kind: asked})
	}
}

// saw notes in which state a backup was.
func (h *history) saw(began int64, id string, state rpc.BackupState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.add(id, began, h.now(), event{sees, state})
}

// listed notes what a page of the newest backups of a VM held, and what it should have held and did not.
func (h *history) listed(began int64, vm string, page []rpc.Backup) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	there, active := map[string]bool{}, []string{}
	for _, b := range page {
		there[b.BackupID] = true
		if !b.State.Ended() {
			active = append(active, b.BackupID)
		}
		if !slices.Contains(h.byVM[vm], b.BackupID) {
			h.byVM[vm] = append(h.byVM[vm], b.BackupID)
		}
		h.made(b.RequestID, b.BackupID)
		h.add(b.BackupID, began, now, event{sees, b.State})
	}
	if len(active) > 1 {
		h.t.Errorf("vm %s has %d active backups at the same time: %v", vm, len(active), active)
	}
	for _, id := range h.byVM[vm] {
		if !there[id] && len(page) > 0 && newer(id, page[len(page)-1].BackupID) {
			h.add(id, began, now, event{sees, gone})
		}
	}
}

// newer compares the times in two ids of backups of the same VM.
func newer(x, y string) bool { return len(x) > len(y) || len(x) == len(y) && x > y }

// known is one of the last backups of a VM that were seen; "" if there is none.
func (h *history) known(random *rand.Rand, vm string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.byVM[vm]
	list = list[max(0, len(list)-8):]
	if len(list) == 0 {
		return ""
	}
	return list[random.IntN(len(list))]
}

func (h *history) size() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, life := range h.lives {
		n += len(life)
	}
	return n
}

// check compares all of it with the model: the life of each backup, and that a request makes one backup, or another only
// when the first was deleted.
func (h *history) check(t *testing.T) {
	t.Helper()
	for request, ids := range h.requests {
		alive := slices.DeleteFunc(slices.Sorted(maps.Keys(ids)), h.deletionAsked)
		if len(alive) > 1 {
			t.Errorf("request %s made %v", request, alive)
		}
	}
	for id, life := range h.lives {
		if verdict := porcupine.CheckOperationsTimeout(lifeModel, life, patient); verdict != porcupine.Ok {
			t.Errorf("the life of %s is none (%s):\n%s", id, verdict, describe(life))
		}
	}
}

func (h *history) deletionAsked(id string) bool {
	return slices.ContainsFunc(h.lives[id], func(o porcupine.Operation) bool { return o.Input.(event).kind == deletes })
}

func describe(life []porcupine.Operation) string {
	slices.SortFunc(life, func(x, y porcupine.Operation) int { return int(x.Call/1000 - y.Call/1000) })
	var text strings.Builder
	for _, o := range life {
		end := "no answer"
		if o.Return != forever {
			end = time.Duration(o.Return).String()
		}
		e := o.Input.(event)
		fmt.Fprintf(&text, "%s to %s: %s %s\n", time.Duration(o.Call), end, e.kind, e.state)
	}
	return text.String()
}

// A life is what the model knows of a backup at one moment.
type life struct {
	state                     record.State // as it was seen last; "" before it is on record
	asked, cancelled, deleted bool         // whether somebody has asked for it
}

// lifeModel is how a backup lives, as seen from outside: in whatever order the questions that overlap were heard, every
// answer shows a state that the table of transitions leads to from the one before. It is there only because somebody asked
// for it, cancelled or deleted only because somebody asked for that, and what is gone stays gone. No crash changes that.
var lifeModel = porcupine.Model{
	Init: func() any { return life{} },
	Step: func(state, input, _ any) (bool, any) {
		l, e := state.(life), input.(event)
		switch e.kind {
		case asked:
			l.asked = true
		case cancels:
			l.cancelled = true
		case deletes:
			l.deleted = true
		case exists:
			if l.state == "" {
				l.state = record.Queued
			}
			return l.asked && l.state != record.State(gone), l
		case sees:
			to := record.State(e.state)
			if !l.leadsTo(to) {
				return false, l
			}
			l.state = to
		}
		return true, l
	},
}

// leadsTo says whether a backup can have come to a state.
func (l life) leadsTo(to record.State) bool {
	seen := map[record.State]bool{}
	next := []record.State{l.state}
	for len(next) > 0 {
		from := next[0]
		next = next[1:]
		if from == to {
			return true
		}
		if seen[from] {
			continue
		}
		seen[from] = true
		for _, s := range append(slices.Clone(record.States), record.State(gone)) {
			if l.follows(from, s) {
				next = append(next, s)
			}
		}
	}
	return false
}

// follows says whether one state may follow another right away.
func (l life) follows(from, to record.State) bool {
	switch {
	case from == "":
		return l.asked && (to == record.Queued || to == record.Preparing)
	case to == record.State(gone):
		return from == record.Deleting
	case from == record.State(gone),
		to == record.Cancelled && !l.cancelled,
		to == record.Deleting && !l.deleted:
		return false
	}
	return record.CheckTransition(from, to) == nil
}

// TestLifeModel: the model takes what may happen, and nothing else.
func TestLifeModel(t *testing.T) {
	t.Parallel()
	at := func(call, ret int64, e event) porcupine.Operation {
		return porcupine.Operation{Input: e, Call: call, Return: ret}
	}
	start := at(0, forever, event{kind: asked})
	for name, c := range map[string]struct {
		life []porcupine.Operation
		want bool
	}{
		"a backup":               {[]porcupine.Operation{start, at(1, 2, event{kind: exists}), at(3, 4, event{sees, rpc.Running}), at(5, 6, event{sees, rpc.Completed})}, true},
		"questions that overlap": {[]porcupine.Operation{start, at(1, 9, event{sees, rpc.Completed}), at(2, 8, event{sees, rpc.Running})}, true},
		"backwards":              {[]porcupine.Operation{start, at(1, 2, event{sees, rpc.Completed}), at(3, 4, event{sees, rpc.Running})}, false},
		"of itself":              {[]porcupine.Operation{at(1, 2, event{sees, rpc.Running})}, false},
		"before it was asked":    {[]porcupine.Operation{at(5, forever, event{kind: asked}), at(1, 2, event{sees, rpc.Running})}, false},
		"cancelled of itself":    {[]porcupine.Operation{start, at(1, 2, event{sees, rpc.Cancelled})}, false},
		"cancelled in the end":   {[]porcupine.Operation{start, at(1, forever, event{kind: cancels}), at(5, 6, event{sees, rpc.Running}), at(7, 8, event{sees, rpc.Cancelled})}, true},
		"cancelled and failed":   {[]porcupine.Operation{start, at(1, forever, event{kind: cancels}), at(5, 6, event{sees, rpc.Cancelled}), at(7, 8, event{sees, rpc.Failed})}, false},
		"lost":                   {[]porcupine.Operation{start, at(1, 2, event{kind: exists}), at(3, 4, event{sees, gone})}, false},
		"deleted":                {[]porcupine.Operation{start, at(1, 2, event{sees, rpc.Failed}), at(3, forever, event{kind: deletes}), at(5, 6, event{sees, gone})}, true},
		"deleted and back":       {[]porcupine.Operation{start, at(1, 2, event{sees, rpc.Failed}), at(3, forever, event{kind: deletes}), at(5, 6, event{sees, gone}), at(7, 8, event{sees, rpc.Failed})}, false},
		"deleted in mid run":     {[]porcupine.Operation{start, at(1, forever, event{kind: deletes}), at(3, 4, event{sees, rpc.Deleting}), at(5, 6, event{sees, rpc.Completed})}, false},
	} {
		if got := porcupine.CheckOperations(lifeModel, c.life); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
