package server

import (
	"time"

	"golang.org/x/sys/unix"
)

// hangUpEvery is how often it is looked whether a client that has finished sending is still there.
const hangUpEvery = time.Second

// outlast lets the watches of a client that has only finished sending go on, until they have ended or it hangs up.
// Reading does not tell the one from the other; and while nothing happens, nothing is written that could fail.
func (c *conn) outlast() {
	ended := make(chan struct{})
	go func() {
		c.watches.work.Wait()
		close(ended)
	}()
	tick := time.NewTicker(hangUpEvery)
	defer tick.Stop()
	for !c.hungUp() {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
	}
	c.watches.stop()
	<-ended
}

// hungUp says whether the client has closed its end whole. A socket that is closed here counts as well.
func (c *conn) hungUp() bool {
	raw, err := c.nc.SyscallConn()
	if err != nil {
		return true
	}
	fds := []unix.PollFd{{}}
	err = raw.Control(func(fd uintptr) {
		fds[0].Fd = int32(fd)
		for _, err = unix.Poll(fds, 0); err == unix.EINTR; _, err = unix.Poll(fds, 0) { //nolint:errorlint // an errno
		}
	})
	return err != nil || fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}
