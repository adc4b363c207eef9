package export

import (
	"context"
	"time"

	"github.com/sendense/backup-agent/nbd"
)

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
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) }) // the flush fails then, and says why
	defer stop()
	if err := c.Flush(); err != nil {
		return err
	}
	return c.Disconnect()
}
