package units

import (
	"context"
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
	// answerTimeout is how long the bus and the service manager may take to answer before the connection is made again.
	answerTimeout = time.Minute
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
	reached func(point string)
	starts  chan struct{}
	cancel  context.CancelFunc
	work    sync.WaitGroup

	*connection
	*watches
	waiters waiters
}

// Open connects to the service manager. ctx bounds only that; the connection is kept, and restored if
// it breaks, until Close.
func Open(ctx context.Context, o Options) (*Manager, error) {
	if o.Slice != "" {
		if err := pair.CheckUnitName(o.Slice, ".slice"); err != nil {
			return nil, err
		}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Reached == nil {
		o.Reached = func(string) {}
	}
	lifetime, cancel := context.WithCancel(context.Background())
	m := &Manager{
		options: o, reached: o.Reached, cancel: cancel,
		starts:     make(chan struct{}, maxStarts),
		connection: newConnection(lifetime, o.User, o.Logger),
		watches:    newWatches(),
	}
	l, err := dial(ctx, lifetime, o.User)
	if err != nil {
		cancel()
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
