package trial

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// refuse sends WRITE_ZEROES, as SBC does for data that it has only sampled, and expects that the export refuses it.
func (t Trial) refuse(ctx context.Context) error {
	if t.Config.SNA.AcceptWriteZeroes {
		return nil
	}
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // Disconnect has closed it, or it is broken
	switch err := c.WriteZeroes(0, zeroBytes); {
	case err == nil:
		return errors.New("WRITE_ZEROES is accepted: data that the backup client has not read would be lost")
	case !errors.Is(err, syscall.EIO):
		return err
	}
	return c.Disconnect()
}

// Refused says, for a sentence, that the trial has seen zeroes refused; "" where they are accepted.
func (t Trial) Refused() string {
	if t.Config.SNA.AcceptWriteZeroes {
		return ""
	}
	return "seen to refuse WRITE_ZEROES and to take no space for zeroes, "
}

// zeroBytes is how many zeroes are written, and zeroTaken how large their image may be: its tables, a key, and what a file system
// allocates in advance.
const (
	zeroBytes = 32 << 20
	zeroTaken = zeroBytes / 2
)

// zeroes writes zeroes, and checks how much space they take.
func (t Trial) zeroes(ctx context.Context) error {
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // Disconnect has closed it, or it is broken
	if _, err := c.WriteAt(make([]byte, zeroBytes), 0); err != nil {
		return err
	}
	if err := errors.Join(c.Flush(), c.Disconnect()); err != nil {
		return err
	}
	info, err := t.Images.Info(ctx, t.Image)
	if err == nil && info.ActualBytes > zeroTaken {
		err = fmt.Errorf("%d MiB of zeroes take %d MiB in the image", zeroBytes>>20, info.ActualBytes>>20)
	}
	return err
}
