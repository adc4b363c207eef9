// Package process runs the operations of a repository in a process of its own, in a sandboxed unit: Connector starts it, Main is what it
// does. Only the process opens files of the repository. It holds no database, no keys but those of a request, and no network.
//
// A process on a file system that hangs may be impossible to kill. So the agent never waits for its end. The next process of the
// repository does: it waits for a lock, because an operation that hung in the old one may still be done when the file system answers.
package process

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/units"
	"github.com/sendense/backup-agent/units/pair"
)

const (
	// UnitPrefix begins the names of the units.
	UnitPrefix = "sendense-repository-"
	// Command is the subcommand of sendense-agent that calls Main.
	Command = "serve-repository"

	startTimeout = 20 * time.Second
	// stopTimeout is how long systemd waits for a process that it has killed. While the unit is loaded, the process hangs.
	stopTimeout = 90 * time.Second
	// endTimeout is how long a process takes to end by itself.
	endTimeout = 2500 * time.Millisecond
	// longestPause limits the time between two starts while each of them hangs.
	longestPause = 10 * time.Minute
	// acceptTimeout is longer than a daemon needs from the start of the unit to its connection.
	acceptTimeout = time.Minute
)

// secrets are what a process must not read. It gets the key of an image with the request that needs it.
var secrets = []string{"/run/credentials", "/etc/credstore", "/etc/credstore.encrypted", "/run/credstore", "/run/credstore.encrypted"}

// A Connector starts the processes of repositories.
type Connector struct {
	Units   *units.Manager
	Program string // sendense-agent
	Runtime string // directory of the sockets
	State   string // directory of the database, in which the agent makes the locks; the processes see nothing else of it

	mu   sync.Mutex
	hung map[string]hangingStart // by repository; the last start that hung
}

// A hangingStart is a start that did not end in time: the storage hangs, and with it whatever enters its directory.
type hangingStart struct {
	began time.Time // of the first in a row
	unit  string
	at    time.Time // when it was given up
	pause time.Duration
}

// Connect starts the process of a repository and connects to it. It is a storage.Connect.
func (c *Connector) Connect(ctx context.Context, s storage.Spec) (storage.Link, error) {
	lock := filepath.Join(c.State, "repository-"+s.ID+".lock")
	f, err := os.OpenFile(lock, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, err
	}
	_ = f.Close()
	spec, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	nonce := strings.ToLower(rand.Text()[:8])
	p := pair.Spec{
		Name:          UnitPrefix + s.ID + "-" + nonce,
		Description:   "Files of repository " + s.ID,
		Argv:          []string{c.Program, Command, "--lock=" + lock, "--spec=" + string(spec)},
		Environment:   failpoint.Environment(),
		ListenAddress: filepath.Join(c.Runtime, "repository-"+nonce+".sock"),
		HiddenDirs:    []string{c.State},
		ReadOnlyDirs:  []string{lock},
		Storage:       &pair.Storage{Dir: s.Path, Hidden: secrets},
		StartTimeout:  startTimeout,
		StopTimeout:   stopTimeout,
	}
	if err := c.stillHangs(ctx, s.ID); err != nil {
		return nil, err
	}
	began := time.Now()
	if _, err := c.Units.Start(ctx, p); err != nil {
		return nil, c.failed(s.ID, p.Name, began, err)
	}
	c.mu.Lock()
	delete(c.hung, s.ID)
	c.mu.Unlock()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", p.ListenAddress)
	if err != nil {
		return nil, err
	}
	return storage.NewLink(conn, nil), nil
}

// stillHangs returns a *storage.StuckError if the last start hung and another one would hang too, as far as is known: its process is still
// there, or was given up by systemd not long ago. So a hang of hours leaves few processes behind.
func (c *Connector) stillHangs(ctx context.Context, id string) error {
	c.mu.Lock()
	last, hung := c.hung[id]
	c.mu.Unlock()
	if !hung {
		return nil
	}
	_, err := c.Units.Get(ctx, last.unit)
	there := !errors.Is(err, units.ErrNotFound)
	givenUp := time.Since(last.at) > stopTimeout // otherwise it has ended, because the storage answers
	if there || givenUp && time.Since(last.at) < stopTimeout+last.pause {
		return stuck(id, last.began)
	}
	return nil
}

// failed returns the error of a start, and remembers one that hung.
func (c *Connector) failed(id, unit string, began time.Time, err error) error {
	var start *units.StartError
	if !errors.Is(err, context.DeadlineExceeded) && !(errors.As(err, &start) && start.Result == "timeout") {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	last, again := c.hung[id]
	now := hangingStart{began: began, unit: unit, at: time.Now(), pause: time.Second}
	if again {
		now.began, now.pause = last.began, min(2*last.pause, longestPause)
	}
	if c.hung == nil {
		c.hung = map[string]hangingStart{}
	}
	c.hung[id] = now
	return fmt.Errorf("%w: %w", stuck(id, now.began), err)
}

func stuck(id string, since time.Time) error {
	return &storage.StuckError{Repository: id, Since: since, Operation: "starting its process"}
}

// Options for Main.
type Options struct {
	Spec string // JSON of a storage.Spec
	Lock string // file that the process locks before its first operation
}

// Main does the operations that come over the socket of the unit, from one connection, until it ends.
func Main(ctx context.Context, o Options) error {
	var spec storage.Spec
	if err := json.Unmarshal([]byte(o.Spec), &spec); err != nil {
		return fmt.Errorf("specification: %w", err)
	}
	listeners, err := activation.Listeners()
	if err != nil {
		return err
	}
	if len(listeners) != 1 || listeners[0] == nil {
		return errors.New("no socket: only the daemon starts it")
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("tell systemd that it is ready: %w", err)
	}
	go func() { // ends a wait for the lock or for the connection
		<-ctx.Done()
		time.Sleep(endTimeout)
		os.Exit(0)
	}()
	if l, ok := listeners[0].(*net.UnixListener); ok { // a daemon that was killed meanwhile does not come
		_ = l.SetDeadline(time.Now().Add(acceptTimeout))
	}
	conn, err := listeners[0].Accept()
	if err != nil {
		return err
	}
	_ = listeners[0].Close()
	// Not earlier: a process that no daemon connects to must not hold up the next one.
	lock, err := takeLock(o.Lock)
	if err != nil {
		return err
	}
	defer lock.Close()
	return storage.Serve(ctx, conn, storage.NewFiles(spec))
}

// takeLock waits until no other process serves the repository.
func takeLock(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: lock: %w", path, err), f.Close())
	}
	return f, nil
}
