package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/net/netutil"

	"github.com/sendense/backup-agent/agent/config"
)

// sockets are what the daemon listens on.
type sockets struct {
	rpc  net.Listener
	http net.Listener     // nil unless enabled
	own  *durableListener // rpc, where systemd did not pass one
}

// Names by which socket units hand over their descriptors (FileDescriptorName=).
const (
	rpcDescriptor  = "rpc"
	httpDescriptor = "http"
)

// listen takes the sockets that systemd passed, and makes the others.
func listen(cfg *config.Config) (s sockets, err error) {
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	passed, err := activation.ListenersWithNames()
	if err != nil {
		return s, fmt.Errorf("sockets passed by systemd: %w", err)
	}
	if l := passed[rpcDescriptor]; len(l) > 0 {
		s.rpc = l[0]
	} else if s.own, err = listenDurably(cfg.Agent.Socket, cfg.Agent.SocketGroup); err != nil {
		return s, err
	} else {
		s.rpc = s.own
	}
	if !cfg.HTTP.Enabled {
		return s, nil
	}
	if l := passed[httpDescriptor]; len(l) > 0 {
		s.http = l[0]
	} else if s.http, err = net.Listen("tcp", cfg.HTTP.Listen); err != nil {
		return s, fmt.Errorf("http.listen: %w", err)
	}
	s.http = netutil.LimitListener(s.http, maxTCPConnections)
	return s, nil
}

// maxTCPConnections limits the open connections to the callbacks, and those to the metrics; more wait. Every local user may open them,
// and each takes a file descriptor: without a limit none is left for the rest of the daemon.
const maxTCPConnections = 1024

// keep makes the rpc socket again whenever it is gone, until ctx ends. A socket that systemd passed is systemd's.
func (s sockets) keep(ctx context.Context, log *slog.Logger) error {
	if s.own == nil {
		return nil
	}
	return s.own.keep(ctx, log)
}

func (s sockets) close() {
	for _, l := range []net.Listener{s.rpc, s.http} {
		if l != nil {
			_ = l.Close() // the server has closed it already, or it was never used
		}
	}
}

// listenUnix makes the RPC socket, for its owner and one group. A socket on which nothing answers is left from a killed daemon and is
// removed; anything else at that path stays.
func listenUnix(path, group string) (*net.UnixListener, error) {
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("agent.socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("agent.socket: %w", err)
	}
	if err := restrict(path, group); err != nil {
		return nil, errors.Join(fmt.Errorf("agent.socket: %w", err), l.Close())
	}
	return l, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: move it away, or choose another path", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return fmt.Errorf("%s: another daemon answers there", path)
	}
	return os.Remove(path)
}

func restrict(path, group string) error {
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return fmt.Errorf("agent.socket_group: %w: create it (systemd-sysusers) or set another group", err)
		}
		gid, err := strconv.Atoi(g.Gid)
		if err != nil {
			return fmt.Errorf("group %s: id %q is not a number", group, g.Gid)
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, 0o660)
}
