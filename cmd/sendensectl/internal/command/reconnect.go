package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// WentAway reports whether the error means that the agent does not answer now, but may come back.
func WentAway(err error) bool {
	var lost *rpc.UnreachableError
	var refused *rpc.Error
	return errors.As(err, &lost) || errors.As(err, &refused) && refused.Data.Reason == rpc.ReasonShuttingDown
}

// Reconnect waits until the agent answers, and returns the new connection.
func (a *App) Reconnect(ctx context.Context) (*rpc.Client, error) {
	for deadline := time.Now().Add(a.ReconnectFor); ; {
		select {
		case <-time.After(a.ReconnectEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		c, err := a.dialAnswering(ctx)
		if err == nil || !WentAway(err) || time.Now().After(deadline) {
			return c, err
		}
	}
}

func (a *App) dialAnswering(ctx context.Context) (*rpc.Client, error) {
	c, err := rpc.Dial(ctx, a.Socket)
	if err != nil {
		return nil, err
	}
	if _, err := c.Status(ctx); err != nil { // systemd accepts connections before the agent runs
		c.Close()
		return nil, err
	}
	return c, nil
}

// AwayText says that the agent does not answer.
func (a *App) AwayText() string {
	return fmt.Sprintf("the agent does not answer; backups and restores continue. Trying again for %s", a.ReconnectFor)
}
