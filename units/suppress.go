package units

// suppression is for a pair that a call of ours takes from one state to another. While it lasts, a signal about the pair is only
// noted: reading the pair at each of the many signals would take the service manager's time from the call itself. The call
// reports the outcome.
type suppression struct {
	calls   int  // in progress
	touched bool // a signal came
}

// suppress begins with a call. The returned function ends it.
func (m *Manager) suppress(name string) (end func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.suppressed[name]
	if s == nil {
		s = &suppression{}
		m.suppressed[name] = s
	}
	s.calls++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if s.calls--; s.calls == 0 {
			delete(m.suppressed, name)
		}
		// The call does not know of signals that came after it last read the pair.
		if s.touched && m.dirty != nil {
			m.dirty.add(name)
		}
	}
}

// noteSuppressed notes a signal about a pair, and reports whether a call in progress is going to report the outcome.
func (m *Manager) noteSuppressed(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.suppressed[name]
	if s != nil {
		s.touched = true
	}
	return s != nil
}

// clearTouched is for a call that is about to read its pair: what it reads covers all signals so far. It reports whether there
// was one.
func (m *Manager) clearTouched(name string) (touched bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.suppressed[name]; s != nil {
		touched, s.touched = s.touched, false
	}
	return touched
}
