package units

import (
	"strings"
	"sync"
)

// watches is what the Manager tells to its watchers, and when: not while a call of ours changes the pair (suppression), and not what
// was read before such a call reported more (inspection).
type watches struct {
	mu         sync.Mutex
	watchers   map[*watcher]struct{}
	suppressed map[string]*suppression
	inspected  string   // pair that is being read because of a signal
	overtaken  bool     // its removal was reported meanwhile: the state that is read may be older
	dirty      *nameSet // pairs to read again for the watchers; nil while disconnected
}

func newWatches() *watches {
	return &watches{watchers: make(map[*watcher]struct{}), suppressed: make(map[string]*suppression)}
}

// join adds a watcher, until leave is called.
func (w *watches) join(one *watcher) (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watchers[one] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.watchers, one)
	}
}

// tell sends an event to every watcher of its pair.
func (w *watches) tell(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Kind == EventRemoved && e.Name == w.inspected {
		w.overtaken = true
	}
	for each := range w.watchers {
		if e.Kind == EventResync || strings.HasPrefix(e.Name, each.prefix) {
			each.push(e)
		}
	}
}

// watched reports whether any watcher watches a pair.
func (w *watches) watched(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for each := range w.watchers {
		if strings.HasPrefix(name, each.prefix) {
			return true
		}
	}
	return false
}

func (w *watches) beginInspection(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inspected, w.overtaken = name, false
}

// endInspection reports whether a call of ours was made meanwhile: then the state that was read may be older than what the call
// reports, and the pair is read again.
func (w *watches) endInspection(name string) (stale bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inspected = ""
	if h := w.suppressed[name]; h != nil {
		h.touched = true
		return true
	}
	if w.overtaken && w.dirty != nil {
		w.dirty.add(name)
	}
	return w.overtaken
}

func (w *watches) setDirty(names *nameSet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dirty = names
}

// suppression is for a pair that a call of ours takes from one state to another. While it lasts, a signal about the pair is only
// noted: reading the pair at each of the many signals would take the service manager's time from the call itself. The call
// reports the outcome.
type suppression struct {
	calls   int  // in progress
	touched bool // a signal came
}

// suppress begins with a call. The returned function ends it.
func (w *watches) suppress(name string) (end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.suppressed[name]
	if s == nil {
		s = &suppression{}
		w.suppressed[name] = s
	}
	s.calls++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if s.calls--; s.calls == 0 {
			delete(w.suppressed, name)
		}
		// The call does not know of signals that came after it last read the pair.
		if s.touched && w.dirty != nil {
			w.dirty.add(name)
		}
	}
}

// noteSuppressed notes a signal about a pair, and reports whether a call in progress is going to report the outcome.
func (w *watches) noteSuppressed(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.suppressed[name]
	if s != nil {
		s.touched = true
	}
	return s != nil
}

// clearTouched is for a call that is about to read its pair: what it reads covers all signals so far. It reports whether there
// was one.
func (w *watches) clearTouched(name string) (touched bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.suppressed[name]; s != nil {
		touched, s.touched = s.touched, false
	}
	return touched
}
