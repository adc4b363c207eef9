// Package server answers the agent's JSON-RPC 2.0 API on a Unix socket.
//
// A connection carries a stream of JSON values in each direction, as `socat - UNIX-CONNECT:` or `nc -U` send and show
// them. Requests may be pretty-printed, follow each other with or without white space, and be batched. Every answer is
// one line. Calls of one connection run in parallel, so answers come in the order in which they are ready. Work that a call
// began continues when the client hangs up. A client that has only finished sending gets its answers and the events of its
// watches. A watch (backup.watch) pushes notifications between the answers, none of them before the answer that names the
// watch. A client that does not read within WriteTimeout is disconnected, so that it costs no more than the buffer of its
// socket and the events that the agent keeps for it.
//
// The package is not the API: the values and the names of the methods are in package rpc. table.go has a row for each
// method, handlers.go the functions, and rpc/internal/translate the translation between the wire and the agent.
//
// The protocol is served here and not by the library that the client uses (creachadair/jrpc2), because that library takes
// an id of null for a notification, answers -32700 where the specification says -32600 (a method that is no string, a
// batch item that is no object), and cancels running calls when the client finishes sending.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/audit"
	"github.com/sendense/backup-agent/rpc"
)

// The defaults of the Options.
const (
	DefaultMaxMessageBytes = 1 << 20
	DefaultMaxConnections  = 512
	DefaultMaxUserBytes    = 64 << 20
	DefaultMessageTimeout  = 30 * time.Second
	DefaultWriteTimeout    = 30 * time.Second
	DefaultDrainTimeout    = 10 * time.Second
)

// Options configure a Server. Only Agent is required.
type Options struct {
	Agent   *agent.Agent
	Logger  *slog.Logger // nil: slog.Default()
	Version string       // of the agent, for the OpenRPC document

	MaxMessageBytes int           // largest message a client may send, in bytes
	MaxConnections  int           // open connections; an eighth of them is reserved for root and the agent's own user
	MaxPerUser      int           // open connections of one other user; 0: half of MaxConnections
	MaxUserBytes    int           // bytes of one user's messages that are answered now; at least one message
	MessageTimeout  time.Duration // from a message's first byte to its last
	WriteTimeout    time.Duration // for a client to take one answer
	DrainTimeout    time.Duration // for running calls after Serve's context has ended

	// Audit records the requests that change something; nil: nothing is recorded.
	Audit *audit.Recorder

	// Observe is called after every call with the method's name ("" for an unknown method), its code (0 for success) and
	// its duration. It must not block. It may be nil.
	Observe func(method string, code rpc.Code, took time.Duration)
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Observe == nil {
		o.Observe = func(string, rpc.Code, time.Duration) {}
	}
	o.MaxMessageBytes = positiveOr(o.MaxMessageBytes, DefaultMaxMessageBytes)
	o.MaxConnections = positiveOr(o.MaxConnections, DefaultMaxConnections)
	o.MaxPerUser = positiveOr(o.MaxPerUser, max(o.MaxConnections/2, 1))
	o.MaxUserBytes = max(positiveOr(o.MaxUserBytes, DefaultMaxUserBytes), o.MaxMessageBytes)
	o.MessageTimeout = positiveOr(o.MessageTimeout, DefaultMessageTimeout)
	o.WriteTimeout = positiveOr(o.WriteTimeout, DefaultWriteTimeout)
	o.DrainTimeout = positiveOr(o.DrainTimeout, DefaultDrainTimeout)
}

func positiveOr[N int | time.Duration](n, otherwise N) N {
	if n > 0 {
		return n
	}
	return otherwise
}

// Server answers calls. Make one with New.
type Server struct {
	opt     Options
	log     *slog.Logger
	methods map[string]method

	mu    sync.Mutex
	conns map[*conn]struct{}
	users map[uint32]*user // users that have connections
	work  sync.WaitGroup   // one for each connection

	refusing chan struct{} // one token for each connection that is refused now
}

// New makes a server; Serve starts it.
func New(opt Options) *Server {
	opt.setDefaults()
	return newServer(opt, methods(opt.Agent))
}

// newServer makes a server of these methods and rpc.discover, which describes them.
func newServer(opt Options, table []method) *Server {
	s := &Server{opt: opt, log: opt.Logger, methods: map[string]method{}, conns: map[*conn]struct{}{}, users: map[uint32]*user{}, refusing: make(chan struct{}, maxRefusing)}
	for _, m := range append(table, discover(table, opt.Version)) {
		if _, twice := s.methods[m.name]; twice {
			panic("method " + m.name + " is in the table twice")
		}
		s.methods[m.name] = m
	}
	return s
}

// Serve answers the connections of the listener, which must be a Unix stream socket, and closes it at the end. When the
// context ends, it stops accepting and reading, and waits up to DrainTimeout for running calls. It then returns nil, or an
// error that says how many connections still had one: their work continues, but their answers are lost. Any other error
// is the listener's. Serve may be called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	err := s.accept(ctx, l)
	l.Close()
	return errors.Join(err, s.drain())
}

// accept starts a goroutine for each connection until the context ends. It gives up only on permanent errors: the lack of
// file descriptors is not one.
func (s *Server) accept(ctx context.Context, l net.Listener) error {
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("rpc socket %s: %w", l.Addr(), err)
		case err != nil:
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Warn("rpc connection not accepted", "error", err, "retry_after", pause)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			continue
		}
		pause = 0
		s.open(context.WithoutCancel(ctx), nc)
	}
}

// open serves an accepted connection, or refuses it.
func (s *Server) open(ctx context.Context, nc net.Conn) {
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		s.log.Error("rpc connection refused: not on a Unix socket", "address", nc.LocalAddr())
		nc.Close()
		return
	}
	peer, err := callerOf(uc)
	if err != nil {
		s.log.Error("rpc connection refused: its peer cannot be identified", "error", err)
		nc.Close()
		return
	}
	c := newConn(s, uc, peer)
	if limit, ok := s.admit(c); !ok {
		s.log.Warn("rpc connection refused: the limit of open connections is reached", "limit", limit, "peer", peer)
		s.refuse(c, limit)
		return
	}
	s.work.Go(func() {
		defer s.closed(c)
		c.serve(ctx)
	})
}

// maxRefusing is how many connections at once are told that there are too many. More are closed without an answer.
const maxRefusing = 64

func (s *Server) refuse(c *conn, limit int) {
	select {
	case s.refusing <- struct{}{}:
	default:
		c.close()
		return
	}
	s.work.Go(func() {
		defer func() { <-s.refusing }()
		defer c.close()
		c.send(failure(nullID, rpc.NewError(rpc.ReasonTooManyConnections, fmt.Sprintf("the limit of %d open connections is reached", limit)).
			WithHint("try again later, or close idle connections")))
		c.linger()
	})
}

// drain waits until every connection has ended, and closes the rest after DrainTimeout.
func (s *Server) drain() error {
	s.eachConn((*conn).drain)
	done := make(chan struct{})
	go func() {
		s.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(s.opt.DrainTimeout):
	}
	left := s.eachConn((*conn).close)
	return fmt.Errorf("rpc: %d connections still had running calls after %s: %w", left, s.opt.DrainTimeout, os.ErrDeadlineExceeded)
}

func (s *Server) eachConn(f func(*conn)) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		f(c)
	}
	return len(s.conns)
}
