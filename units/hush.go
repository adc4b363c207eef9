package units

// hush is a pair that a call of ours is taking from one state to another: of the many signals on the way none is followed by a
// reading, which would take the time of the service manager from the call itself. The call tells the outcome.
type hush struct {
	calls   int  // that are under way
	touched bool // a signal came
}

// hush begins with a call. The returned function ends it.
func (m *Manager) hush(name string) (end func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hushed[name]
	if h == nil {
		h = &hush{}
		m.hushed[name] = h
	}
	h.calls++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if h.calls--; h.calls == 0 {
			delete(m.hushed, name)
		}
		// What came since the call last looked is not known to it.
		if h.touched && m.dirty != nil {
			m.dirty.add(name)
		}
	}
}

// hushes notes a signal about a pair, and reports whether a call is going to tell of it.
func (m *Manager) hushes(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hushed[name]
	if h != nil {
		h.touched = true
	}
	return h != nil
}

// looks is called right before a call reads how its pair is: only what comes from here on is news. It reports whether anything has
// come before.
func (m *Manager) looks(name string) (touched bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h := m.hushed[name]; h != nil {
		touched, h.touched = h.touched, false
	}
	return touched
}
