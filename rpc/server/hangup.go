package server

import (
	"time"

	"golang.org/x/sys/unix"
)

// hangUpEvery is how often a client that has finished sending is checked: is it still connected?
const hangUpEvery = time.Second

// outlast keeps the watches of a client that has finished sending, until they end or it hangs up. Reading cannot tell the
// two apart; and while there are no events, nothing is written that could fail.
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

// hungUp says whether the client has closed its end completely. A socket that is closed on this side counts too.
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
