package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// WentAway says whether an error is one of an agent that may come back.
func WentAway(err error) bool {
	var lost *rpc.UnreachableError
	var refused *rpc.Error
	return errors.As(err, &lost) || errors.As(err, &refused) && refused.Data.Reason == rpc.ReasonShuttingDown
}

// Reconnect returns a connection on which the agent answers.
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
	if _, err := c.Status(ctx); err != nil { // systemd accepts connections for an agent that does not run yet
		c.Close()
		return nil, err
	}
	return c, nil
}

// AwayText tells that the agent went away.
func (a *App) AwayText() string {
	return fmt.Sprintf("the agent went away; what is watched goes on. Trying to reach it for %s", a.ReconnectFor)
}
