package doctor

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/sendense/backup-agent/agent"
)

// writeZeroes warns where a backup's exports accept WRITE_ZEROES. That they refuse it otherwise, the trial of each repository proves.
func (h *host) writeZeroes(context.Context) []Finding {
	about := one("write-zeroes", h.config.SNA.URL)
	if h.config.SNA.AcceptWriteZeroes {
		return about.warn(agent.WarnZeroes, "unless the node's client is known to read all that it calls zero, remove sna.accept_write_zeroes, "+
			"and reload the daemon: the next backup of each VM is a full one then, as what was made meanwhile may lack data")
	}
	return about.ok("exports of backups refuse it")
}

// refuse asks for zeroes, as SBC does of what it has only sampled, and wants to be refused.
func (t trial) refuse(ctx context.Context) error {
	if t.config.SNA.AcceptWriteZeroes {
		return nil
	}
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // Disconnect has closed it, or it is broken
	switch err := c.WriteZeroes(0, trialZeroes); {
	case err == nil:
		return errors.New("WRITE_ZEROES is accepted, so data that the backup client has not read would be lost")
	case !errors.Is(err, syscall.EIO):
		return err
	}
	return c.Disconnect()
}

// refused says that refuse has seen it.
func (t trial) refused() string {
	if t.config.SNA.AcceptWriteZeroes {
		return ""
	}
	return "seen to refuse WRITE_ZEROES and to keep no room for zeroes, "
}

// trialZeroes is how many zeroes are written, and trialTaken what an image of them may take: its tables, a key, and what a file
// system allocates in advance.
const (
	trialZeroes = 32 << 20
	trialTaken  = trialZeroes / 2
)

// zeroes writes zeroes, and looks how much room they take.
func (t trial) zeroes(ctx context.Context) error {
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // Disconnect has closed it, or it is broken
	if _, err := c.WriteAt(make([]byte, trialZeroes), 0); err != nil {
		return err
	}
	if err := errors.Join(c.Flush(), c.Disconnect()); err != nil {
		return err
	}
	info, err := t.tools.Info(t.image)
	if err == nil && info.ActualBytes > trialTaken {
		err = fmt.Errorf("%d MiB of zeroes have the image take %d MiB", trialZeroes>>20, info.ActualBytes>>20)
	}
	return err
}
