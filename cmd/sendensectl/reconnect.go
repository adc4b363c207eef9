package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

// wentAway says whether an error is one of an agent that may come back.
func wentAway(err error) bool {
	var lost *rpc.UnreachableError
	var refused *rpc.Error
	return errors.As(err, &lost) || errors.As(err, &refused) && refused.Data.Reason == rpc.ReasonShuttingDown
}

// reconnect returns a connection on which the agent answers.
func (a *app) reconnect(ctx context.Context) (*rpc.Client, error) {
	for deadline := time.Now().Add(a.reconnectFor); ; {
		select {
		case <-time.After(a.reconnectEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		c, err := a.dialAnswering(ctx)
		if err == nil || !wentAway(err) || time.Now().After(deadline) {
			return c, err
		}
	}
}

func (a *app) dialAnswering(ctx context.Context) (*rpc.Client, error) {
	c, err := rpc.Dial(ctx, a.socket)
	if err != nil {
		return nil, err
	}
	if _, err := c.Status(ctx); err != nil { // systemd accepts connections for an agent that does not run yet
		c.Close()
		return nil, err
	}
	return c, nil
}

// away tells that the agent went away.
func (a *app) away() string {
	return fmt.Sprintf("the agent went away; what is watched goes on. Trying to reach it for %s", a.reconnectFor)
}
