package units

import (
	"context"
	"time"
)

// waiter is a call that waits for a change of one pair.
type waiter struct {
	name string
	wake chan struct{} // buffered 1
}

// await reads a pair now and after each of its changes until done says so. It returns the last state
// read, and ErrNotFound when the pair is not loaded (any more).
func (m *Manager) await(ctx context.Context, name string, done func(Unit) bool) (Unit, error) {
	w := &waiter{name: name, wake: make(chan struct{}, 1)}
	m.mu.Lock()
	m.waiters[w] = struct{}{}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.waiters, w)
		m.mu.Unlock()
	}()
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	last := Unit{Name: name}
	for {
		u, err := m.Get(ctx, name)
		if err != nil {
			return last, err
		}
		last = u
		if done(u) {
			return u, nil
		}
		select {
		case <-w.wake:
		case <-tick.C:
		case <-ctx.Done():
			return u, ctx.Err()
		case <-m.life.Done():
			return u, ErrClosed
		}
	}
}

// wake tells the waiters of a pair, or all of them for "", to look again.
func (m *Manager) wake(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.waiters {
		if name == "" || w.name == name {
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}
