package units

import (
	"context"
	"errors"
	"sync"
	"time"
)

// waiter is a call that waits for a change of one pair.
type waiter struct {
	name string
	wake chan struct{} // buffered 1
}

// await reads a pair now and after each change until done returns true. It returns the last state
// read, and ErrNotFound if the pair is not loaded (any more).
func (m *Manager) await(ctx context.Context, name string, done func(Unit) bool) (Unit, error) {
	last := Unit{Name: name}
	err := m.atChanges(ctx, name, func() (bool, error) {
		u, err := m.Get(ctx, name)
		if err != nil {
			return false, err
		}
		last = u
		return done(u), nil
	})
	return last, err
}

// awaitGone waits until neither half of a pair is loaded. It does not read them.
func (m *Manager) awaitGone(ctx context.Context, name string) error {
	return m.atChanges(ctx, name, func() (bool, error) {
		err := m.retry(ctx, func(l *link) error {
			_, _, err := l.halves(ctx, name)
			return err
		})
		if errors.Is(err, ErrNotFound) {
			return true, nil
		}
		return false, err
	})
}

// atChanges calls look now, after each change of a pair and once a second, until look is done or
// fails.
func (m *Manager) atChanges(ctx context.Context, name string, look func() (done bool, err error)) error {
	w, leave := m.waiters.join(name)
	defer leave()
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		if done, err := look(); done || err != nil {
			return err
		}
		select {
		case <-w.wake:
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-m.ctx.Done():
			return ErrClosed
		}
	}
}

// waiters are the calls that wait.
type waiters struct {
	mu  sync.Mutex
	all map[*waiter]struct{}
}

// join adds a waiter, until leave is called.
func (s *waiters) join(name string) (w *waiter, leave func()) {
	w = &waiter{name: name, wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[*waiter]struct{})
	}
	s.all[w] = struct{}{}
	return w, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, w)
	}
}

// wake makes the waiters of a pair, or all of them for "", look again.
func (s *waiters) wake(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.all {
		if name == "" || w.name == name {
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}
