package units

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// link is one connection to the service manager. go-systemd uses two sockets for it, one for calls
// and one for signals; if one is lost, the link is lost.
type link struct {
	*systemd.Conn
	socks   []*dbus.Conn // calls, signals
	signals chan *dbus.Signal
	lost    chan struct{}
	once    sync.Once
	calls   chan struct{} // holds one element for each call in progress
	jobs    chan struct{} // likewise for the one call in progress that makes a job
}

// maxCalls is the limit of calls in progress. The bus daemon allows 128 per connection
// (max_replies_per_connection) and refuses more.
const maxCalls = 64

// call makes one call to systemd, and waits before it while maxCalls are in progress.
func (l *link) call(ctx context.Context, f func() error) error {
	select {
	case l.calls <- struct{}{}:
		defer func() { <-l.calls }()
		return lateAnswer(ctx, f())
	case <-ctx.Done():
		return lateAnswer(ctx, ctx.Err())
	}
}

// job makes one call to systemd that queues a job. go-systemd holds a lock during each, and waits for it without a limit: a call must
// not wait there for one with a longer limit.
func (l *link) job(ctx context.Context, f func() error) error {
	select {
	case l.jobs <- struct{}{}:
		defer func() { <-l.jobs }()
		return l.call(ctx, f)
	case <-ctx.Done():
		return lateAnswer(ctx, ctx.Err())
	}
}

// dial connects, subscribes to the manager's signals and returns. ctx bounds only this; the
// connection ends with lifetime (go-systemd closes a connection with the context of its constructor,
// so that must not be the caller's).
func dial(ctx, lifetime context.Context, user bool) (*link, error) {
	var stops []func() bool
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	l := &link{signals: make(chan *dbus.Signal, 256), lost: make(chan struct{}), calls: make(chan struct{}, maxCalls), jobs: make(chan struct{}, 1)}
	conn, err := systemd.NewConnection(func() (*dbus.Conn, error) {
		sock, err := dialSocket(ctx, lifetime, user)
		if err != nil {
			return nil, err
		}
		l.socks = append(l.socks, sock)
		context.AfterFunc(sock.Context(), l.fail)
		// NewConnection makes a call, and bounds it with nothing. A bus that does not answer it must not end our attempts.
		stops = append(stops, closeAfter(ctx, sock))
		return sock, nil
	})
	if err != nil {
		return nil, fmt.Errorf("connect to the %s service manager: %w", busKind(user), err)
	}
	l.Conn = conn
	if err := l.subscribe(user); err != nil {
		l.close()
		return nil, fmt.Errorf("subscribe to the %s service manager: %w", busKind(user), err)
	}
	return l, nil
}

// closeAfter closes a connection when ctx ends, unless stop is called before.
func closeAfter(ctx context.Context, sock *dbus.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = sock.Close() })
}

func busKind(user bool) string {
	if user {
		return "user's"
	}
	return "system"
}

// dialSocket opens one authenticated connection: to the system bus, or to the socket of the user's
// service manager, which exists also if the user has no session bus.
func dialSocket(ctx, lifetime context.Context, user bool) (*dbus.Conn, error) {
	options := []dbus.ConnOption{
		dbus.WithContext(lifetime),
		// The default handler delivers signals out of order if the receiver is busy.
		dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()),
	}
	var sock *dbus.Conn
	var err error
	if user {
		dir := os.Getenv("XDG_RUNTIME_DIR")
		if dir == "" {
			return nil, errors.New("XDG_RUNTIME_DIR is not set: the user has no service manager; log in, or start it at boot (loginctl enable-linger)")
		}
		sock, err = dbus.Dial("unix:path="+dbus.EscapeBusAddressValue(filepath.Join(dir, "systemd/private")), options...)
	} else {
		sock, err = dbus.SystemBusPrivate(options...)
	}
	if err != nil {
		return nil, err
	}
	defer closeAfter(ctx, sock)()
	// EXTERNAL with the numeric id: no user lookup needed.
	err = sock.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))})
	if err == nil && !user { // a direct socket has no bus: no Hello
		err = sock.Hello()
	}
	if err != nil {
		_ = sock.Close()
		return nil, errors.Join(ctx.Err(), err)
	}
	return sock, nil
}

// subscribe subscribes to unit signals. On a bus it also subscribes to changes of the owner of the
// manager's name: a daemon-reexec ends all subscriptions.
func (l *link) subscribe(user bool) error {
	sock := l.socks[1]
	sock.Signal(l.signals)
	if !user {
		err := errors.Join(
			sock.AddMatchSignal(dbus.WithMatchInterface(managerInterface), dbus.WithMatchMember("UnitRemoved")),
			sock.AddMatchSignal(dbus.WithMatchInterface(managerInterface), dbus.WithMatchMember("Reloading")),
			sock.AddMatchSignal(dbus.WithMatchSender("org.freedesktop.DBus"),
				dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, managerName)),
		)
		if err != nil {
			return err
		}
	}
	return l.Subscribe()
}

// subscribeAgain subscribes after the service manager has re-executed itself. If it does not answer, the link counts as lost: the
// signals of the link wait for this call.
func (l *link) subscribeAgain() {
	late := time.AfterFunc(answerTimeout, l.close)
	defer late.Stop()
	_ = l.Subscribe() // not every version forgets subscriptions; to subscribe twice returns an error
}

const (
	managerName      = "org.freedesktop.systemd1"
	managerPath      = "/org/freedesktop/systemd1"
	managerInterface = "org.freedesktop.systemd1.Manager"
)

func (l *link) fail() { l.once.Do(func() { close(l.lost) }) }

func (l *link) close() {
	l.Close()
	l.fail()
}

func isNetError(err error) bool {
	var e *net.OpError
	return errors.As(err, &e) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, net.ErrClosed)
}
