package units

import (
	"encoding/hex"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

// follow handles the signals of a link until it is lost or the Manager is closed.
//
// To read a pair takes calls on the bus, and signals must not wait for them: a second goroutine reads
// the pairs, and gets the names of changed pairs from the first. A pair that changes ten times meanwhile
// is read once.
func (m *Manager) follow(l *link) {
	dirty := newNameSet()
	var reader sync.WaitGroup
	reader.Go(func() {
		for name := range dirty.all {
			m.inspect(l, name)
		}
	})
	defer reader.Wait()
	defer dirty.close()
	m.setDirty(dirty)
	defer m.setDirty(nil)
	for {
		select {
		case signal, ok := <-l.signals:
			if !ok {
				return
			}
			m.handle(l, signal, dirty)
		case <-l.lost:
			return
		case <-m.ctx.Done():
			return
		}
	}
}

func (m *Manager) handle(l *link, s *dbus.Signal, dirty *nameSet) {
	switch s.Name {
	case "org.freedesktop.DBus.Properties.PropertiesChanged":
		if unit := unitOfPath(s.Path); unit != "" {
			m.touch(unit, dirty)
		}
	case managerInterface + ".UnitRemoved":
		if len(s.Body) > 0 {
			m.touch(text(s.Body[0]), dirty)
		}
	case managerInterface + ".Reloading":
		// Sent before (true) and after (false) a reload; signals in between are lost.
		if len(s.Body) > 0 && s.Body[0] == false {
			m.resync()
		}
	case "org.freedesktop.DBus.NameOwnerChanged":
		// The service manager re-executed itself. Not every version keeps the subscriptions.
		if len(s.Body) == 3 && text(s.Body[0]) == managerName && text(s.Body[2]) != "" {
			l.subscribeAgain()
			m.resync()
		}
	}
}

// touch handles a signal that one half of a pair has changed.
func (m *Manager) touch(unit string, dirty *nameSet) {
	name := pairName(unit)
	if name == unit {
		return // neither a service nor a socket
	}
	m.waiters.wake(name)
	if m.watched(name) && !m.noteSuppressed(name) {
		dirty.add(name)
	}
}

// unitOfPath is the inverse of systemd's escaping of unit names in object paths.
func unitOfPath(path dbus.ObjectPath) string {
	escaped, ok := strings.CutPrefix(string(path), managerPath+"/unit/")
	if !ok {
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] == '_' && i+2 < len(escaped) {
			if c, err := hex.DecodeString(escaped[i+1 : i+3]); err == nil {
				b.Write(c)
				i += 2
				continue
			}
		}
		b.WriteByte(escaped[i])
	}
	return b.String()
}

// nameSet is a queue that contains each name at most once.
type nameSet struct {
	mu     sync.Mutex
	wake   *sync.Cond
	order  []string
	has    map[string]bool
	closed bool
}

func newNameSet() *nameSet {
	s := &nameSet{has: make(map[string]bool)}
	s.wake = sync.NewCond(&s.mu)
	return s
}

func (s *nameSet) add(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.has[name] {
		s.has[name] = true
		s.order = append(s.order, name)
		s.wake.Signal()
	}
}

func (s *nameSet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.wake.Signal()
}

// all yields the names, first in, first out, until close.
func (s *nameSet) all(yield func(string) bool) {
	for {
		s.mu.Lock()
		for len(s.order) == 0 && !s.closed {
			s.wake.Wait()
		}
		if s.closed {
			s.mu.Unlock()
			return
		}
		name := s.order[0]
		s.order = s.order[1:]
		delete(s.has, name)
		s.mu.Unlock()
		if !yield(name) {
			return
		}
	}
}
