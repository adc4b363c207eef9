package units

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// connection holds the link to the service manager. After the link was lost, calls wait until there is another one.
type connection struct {
	user bool // to the service manager of the calling user
	log  *slog.Logger
	ctx  context.Context // ends with Close

	mu      sync.Mutex
	link    *link         // nil while disconnected
	changed chan struct{} // closed and replaced when link changes
}

func newConnection(ctx context.Context, user bool, log *slog.Logger) *connection {
	return &connection{user: user, log: log, ctx: ctx, changed: make(chan struct{})}
}

// redial tries until it succeeds; it returns nil if the Manager is closed.
func (c *connection) redial() *link {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		ctx, cancel := context.WithTimeout(c.ctx, answerTimeout)
		l, err := dial(ctx, c.ctx, c.user)
		cancel()
		if err == nil {
			return l
		}
		c.log.Debug("cannot connect to the service manager yet", "error", err)
		select {
		case <-c.ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (c *connection) setLink(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = l
	close(c.changed)
	c.changed = make(chan struct{})
}

// connected returns the link; while there is none, it waits.
func (c *connection) connected(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		l, changed := c.link, c.changed
		c.mu.Unlock()
		if c.ctx.Err() != nil {
			return nil, ErrClosed
		}
		if l != nil {
			return l, nil
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%w and is not restored yet", ErrDisconnected), ctx.Err())
		}
	}
}

// retry makes a call that may be repeated, and repeats it if the connection broke during it.
func (c *connection) retry(ctx context.Context, call func(*link) error) error {
	for {
		l, err := c.connected(ctx)
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
