package export

import (
	"context"
	"time"

	"github.com/sendense/backup-agent/nbd"
)

// Flush connects to an export and asks it to write everything to the disk. It stops when ctx ends.
func Flush(ctx context.Context, address, exportName string) error {
	c, err := nbd.Dial(ctx, address, exportName)
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) }) // makes the flush fail with a timeout
	defer stop()
	if err := c.Flush(); err != nil {
		return err
	}
	return c.Disconnect()
}
