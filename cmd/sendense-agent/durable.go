package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// socketInterval is how often the daemon checks that its socket is still there.
const socketInterval = 2 * time.Second

// A durableListener listens on a path until it is closed: when the socket's file is gone, or its directory, it makes a new one. Open
// connections are not affected.
type durableListener struct {
	path, group string

	mu     sync.Mutex
	now    *net.UnixListener
	file   fs.FileInfo // the socket's, by which it is known
	closed bool
}

func listenDurably(path, group string) (*durableListener, error) {
	d := &durableListener{path: path, group: group}
	return d, d.renew()
}

// renew replaces a socket that is gone.
func (d *durableListener) renew() error {
	l, err := listenUnix(d.path, d.group)
	if err != nil {
		return err
	}
	file, err := os.Lstat(d.path)
	if err != nil {
		return errors.Join(fmt.Errorf("agent.socket: %w", err), l.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return l.Close()
	}
	if d.now != nil {
		d.now.SetUnlinkOnClose(false) // the name is the new one's
		_ = d.now.Close()             // wakes Accept
	}
	d.now, d.file = l, file
	return nil
}

// keep makes the socket again whenever it is gone, until ctx ends.
func (d *durableListener) keep(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(socketInterval)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if d.stands() {
			continue
		}
		err := os.MkdirAll(filepath.Dir(d.path), 0o755)
		if err == nil {
			err = d.renew()
		}
		switch {
		case err == nil:
			log.Warn("the rpc socket was gone and is made again", "socket", d.path)
			said = ""
		case err.Error() != said:
			said = err.Error()
			log.Error("the rpc socket is gone and cannot be made again: no client can connect; backups continue", "socket", d.path, "error", err)
		}
	}
}

func (d *durableListener) stands() bool {
	file, err := os.Lstat(d.path)
	d.mu.Lock()
	defer d.mu.Unlock()
	return err == nil && os.SameFile(file, d.file)
}

func (d *durableListener) current() *net.UnixListener {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

// Accept waits for a connection to the current socket.
func (d *durableListener) Accept() (net.Conn, error) {
	for {
		l := d.current()
		c, err := l.Accept()
		if err == nil || l == d.current() {
			return c, err
		}
	}
}

// Close ends the listener, and removes the socket's file.
func (d *durableListener) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return net.ErrClosed
	}
	d.closed = true
	return d.now.Close()
}

func (d *durableListener) Addr() net.Addr { return d.current().Addr() }
