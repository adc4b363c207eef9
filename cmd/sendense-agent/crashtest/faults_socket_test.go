package crashtest_test

import (
	"context"
	"os"
	"path/filepath"

	"github.com/sendense/backup-agent/rpc"
)

// socketFaults are those of the file that the daemon is spoken to by.
var socketFaults = []fault{
	{
		name:    "socket directory gone in mid-copy",
		promise: "the copy goes on, connections too; the daemon says so and makes directory and socket again",
		act:     func(c *crash) { c.daemon.withoutSocket(func() error { return os.RemoveAll(filepath.Dir(c.socket())) }) },
		becomes: "completed",
	},
	{
		name:    "socket gone in mid-copy",
		promise: "the copy goes on, connections too; the daemon says so and makes the socket again",
		act:     func(c *crash) { c.daemon.withoutSocket(func() error { return os.Remove(c.socket()) }) },
		becomes: "completed",
	},
	{
		name:    "something else in the socket's place",
		promise: "it is left alone and named; the socket comes back when it has gone",
		act: func(c *crash) {
			b := c.midCopy()
			must(c.T, os.Remove(c.socket()))
			must(c.T, os.WriteFile(c.socket(), []byte("a note"), 0o600))
			c.daemon.says("exists and is not a socket")
			if text, err := os.ReadFile(c.socket()); err != nil || string(text) != "a note" {
				c.Errorf("it holds %q: %v", text, err)
			}
			must(c.T, os.Remove(c.socket()))
			c.eventually("the daemon answers again", c.hub.answers)
			c.release()
			c.untilState(b.BackupID, rpc.Completed)
		},
		becomes: "completed",
	},
}

// withoutSocket takes the socket away while a client is connected to it.
func (c daemonSteps) withoutSocket(remove func() error) {
	c.Helper()
	b := c.midCopy()
	ctx, cancel := c.limit()
	defer cancel()
	must(c.T, c.with(ctx, func(old *rpc.Client) error {
		if _, err := old.Status(ctx); err != nil {
			return err
		}
		if err := remove(); err != nil {
			return err
		}
		c.eventually("the daemon answers again", c.hub.answers)
		c.says("made again")
		return c.stillServed(ctx, old, b.BackupID)
	}))
	c.release()
	c.untilState(b.BackupID, rpc.Completed)
}

func (c daemonSteps) stillServed(ctx context.Context, old *rpc.Client, id string) error {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	_, err := old.GetBackup(ctx, id)
	return err
}
