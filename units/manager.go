package units

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sendense/backup-agent/units/pair"
)

const (
	// maxStarts is how many starts are in flight at once: more gain nothing, systemd works on
	// them one after another, and each holds a place in its queue.
	maxStarts = 16
	// cleanupTimeout bounds what is done after a call has failed or its context has ended.
	cleanupTimeout = 30 * time.Second
	// recheck is how often a wait looks for itself, should a signal be lost (daemon-reexec).
	recheck = time.Second
	// journalLines is how much of the journal a StartError carries.
	journalLines = 20
)

// Options for Open.
type Options struct {
	// User chooses the calling user's service manager instead of the system's.
	User bool
	// Slice holds the units, for example "sendense-nbd.slice". Empty: systemd's default.
	Slice string
	// Logger hears of lost and restored connections. Nil: slog.Default().
	Logger *slog.Logger
	// Reached is told the name of each point that a crash test may stop at, such as "unit: before start": one before and one after
	// each call that changes a unit. It runs in the goroutine of the call. Nil: nobody is told.
	Reached func(point string)
}

// Manager starts, watches and stops pairs. Its methods may be called from any goroutine.
type Manager struct {
	options Options
	log     *slog.Logger
	reached func(point string)
	starts  chan struct{}

	life context.Context // ends with Close
	end  context.CancelFunc
	work sync.WaitGroup

	mu         sync.Mutex
	link       *link         // nil while disconnected
	changed    chan struct{} // closed and replaced when link changes
	watchers   map[*watcher]struct{}
	waiters    map[*waiter]struct{}
	suppressed map[string]*suppression
	inspected  string   // pair that is being read because of a signal
	overtaken  bool     // its removal was told meanwhile: what is read may be older
	dirty      *nameSet // pairs of which somebody is to be told how they are; nil while disconnected
}

// Open connects to the service manager. ctx bounds only that; the connection lives, and is restored
// when it breaks, until Close.
func Open(ctx context.Context, o Options) (*Manager, error) {
	if o.Slice != "" {
		if err := pair.CheckUnitName(o.Slice, ".slice"); err != nil {
			return nil, err
		}
	}
	m := &Manager{
		options: o, log: o.Logger, reached: o.Reached,
		starts:     make(chan struct{}, maxStarts),
		changed:    make(chan struct{}),
		watchers:   make(map[*watcher]struct{}),
		waiters:    make(map[*waiter]struct{}),
		suppressed: make(map[string]*suppression),
	}
	if m.log == nil {
		m.log = slog.Default()
	}
	if m.reached == nil {
		m.reached = func(string) {}
	}
	m.life, m.end = context.WithCancel(context.Background())
	l, err := dial(ctx, m.life, o.User)
	if err != nil {
		m.end()
		return nil, err
	}
	m.setLink(l)
	m.work.Go(func() { m.maintain(l) })
	return m, nil
}

// Close ends the connection, the watches and the waits. It stops no unit.
func (m *Manager) Close() error {
	m.end()
	m.work.Wait()
	return nil
}

// maintain follows the signals of a link and replaces it when it is lost, until Close.
func (m *Manager) maintain(l *link) {
	for {
		m.follow(l)
		m.setLink(nil)
		l.close()
		if m.life.Err() != nil {
			return
		}
		m.log.Warn("connection to the service manager lost", "user", m.options.User)
		if l = m.redial(); l == nil {
			return
		}
		m.log.Info("connection to the service manager restored", "user", m.options.User)
		m.setLink(l)
		m.resync()
	}
}

// redial tries until it succeeds; nil when the Manager was closed.
func (m *Manager) redial() *link {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		ctx, cancel := context.WithTimeout(m.life, 5*time.Second)
		l, err := dial(ctx, m.life, m.options.User)
		cancel()
		if err == nil {
			return l
		}
		m.log.Debug("connection to the service manager refused", "error", err)
		select {
		case <-m.life.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (m *Manager) setLink(l *link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.link = l
	close(m.changed)
	m.changed = make(chan struct{})
}

// connected returns the link, waiting for it to come back if need be.
func (m *Manager) connected(ctx context.Context) (*link, error) {
	for {
		m.mu.Lock()
		l, changed := m.link, m.changed
		m.mu.Unlock()
		if m.life.Err() != nil {
			return nil, ErrClosed
		}
		if l != nil {
			return l, nil
		}
		select {
		case <-changed:
		case <-m.life.Done():
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%w and is not back yet", ErrDisconnected), ctx.Err())
		}
	}
}

// retry runs a call that may be repeated, again when the connection broke under it.
func (m *Manager) retry(ctx context.Context, call func(*link) error) error {
	for {
		l, err := m.connected(ctx)
		if err != nil {
			return err
		}
		err = call(l)
		if err == nil || !isDisconnect(err) || ctx.Err() != nil {
			return err
		}
		select { // until the loss is noticed, or the manager is back on its bus
		case <-l.lost:
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
