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
	// maxStarts is the limit of starts in progress. More would not be faster: systemd handles them
	// one after another.
	maxStarts = 16
	// cleanupTimeout bounds the cleanup after a call has failed or its context has ended.
	cleanupTimeout = 30 * time.Second
	// recheck is how often a wait reads the state, in case a signal is lost (daemon-reexec).
	recheck = time.Second
	// journalLines is how many lines of the journal a StartError has.
	journalLines = 20
)

// Options for Open.
type Options struct {
	// User selects the service manager of the calling user instead of the system's.
	User bool
	// Slice contains the units, for example "sendense-nbd.slice". Empty: systemd's default.
	Slice string
	// Logger logs lost and restored connections. Nil: slog.Default().
	Logger *slog.Logger
	// Reached is called with the name of each point at which a crash test may stop the process, such as "unit: before start": one
	// before and one after each call that changes a unit. It runs in the goroutine of the call. May be nil.
	Reached func(point string)
}

// Manager starts, watches and stops pairs. Its methods may be called from any goroutine.
type Manager struct {
	options Options
	log     *slog.Logger
	reached func(point string)
	starts  chan struct{}

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu         sync.Mutex
	link       *link         // nil while disconnected
	changed    chan struct{} // closed and replaced when link changes
	watchers   map[*watcher]struct{}
	waiters    map[*waiter]struct{}
	suppressed map[string]*suppression
	inspected  string   // pair that is being read because of a signal
	overtaken  bool     // its removal was reported meanwhile: the state that is read may be older
	dirty      *nameSet // pairs to read again for the watchers; nil while disconnected
}

// Open connects to the service manager. ctx bounds only that; the connection is kept, and restored if
// it breaks, until Close.
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
	m.ctx, m.cancel = context.WithCancel(context.Background())
	l, err := dial(ctx, m.ctx, o.User)
	if err != nil {
		m.cancel()
		return nil, err
	}
	m.setLink(l)
	m.work.Go(func() { m.maintain(l) })
	return m, nil
}

// Close ends the connection, the watches and the waits. It stops no unit.
func (m *Manager) Close() error {
	m.cancel()
	m.work.Wait()
	return nil
}

// maintain handles the signals of a link and replaces it if it is lost, until Close.
func (m *Manager) maintain(l *link) {
	for {
		m.follow(l)
		m.setLink(nil)
		l.close()
		if m.ctx.Err() != nil {
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

// redial tries until it succeeds; it returns nil if the Manager is closed.
func (m *Manager) redial() *link {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		ctx, cancel := context.WithTimeout(m.ctx, 5*time.Second)
		l, err := dial(ctx, m.ctx, m.options.User)
		cancel()
		if err == nil {
			return l
		}
		m.log.Debug("cannot connect to the service manager yet", "error", err)
		select {
		case <-m.ctx.Done():
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

// connected returns the link; while there is none, it waits.
func (m *Manager) connected(ctx context.Context) (*link, error) {
	for {
		m.mu.Lock()
		l, changed := m.link, m.changed
		m.mu.Unlock()
		if m.ctx.Err() != nil {
			return nil, ErrClosed
		}
		if l != nil {
			return l, nil
		}
		select {
		case <-changed:
		case <-m.ctx.Done():
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%w and is not restored yet", ErrDisconnected), ctx.Err())
		}
	}
}

// retry makes a call that may be repeated, and repeats it if the connection broke during it.
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
		select { // wait until the loss is noticed, or the service manager is on the bus again
		case <-l.lost:
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
