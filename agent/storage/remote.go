package storage

import (
	"context"
	"errors"
	"net"
	"net/rpc"
	"sync"
	"time"
)

// serviceName is the name of the operations in the protocol of net/rpc.
const serviceName = "Repository"

// remote asks another process over a connection.
type remote struct {
	client *rpc.Client
	conn   *watched
	stop   func()
}

// NewLink returns the link to a process that runs Serve at the other end of a connection. stop, which may be nil, is called once when the
// link is closed.
func NewLink(conn net.Conn, stop func()) Link {
	w := watch(conn)
	if stop == nil {
		stop = func() {}
	}
	return &remote{client: rpc.NewClient(w), conn: w, stop: sync.OnceFunc(stop)}
}

func (l *remote) Start(r Request, moved func(Movement)) <-chan Answer {
	do := func() (a Answer) {
		a.Err = l.client.Call(serviceName+".Do", r, &a.Response)
		return a
	}
	return followed(r.Number, do, moved, func(n []uint64) (all Moved, err error) {
		return all, l.client.Call(serviceName+".Progress", n, &all)
	})
}

func (l *remote) Cancel(number uint64) {
	go func() { // a process that reads nothing must not hold up who leaves
		var done bool
		_ = l.client.Call(serviceName+".Cancel", number, &done) // without a process there is nothing to cancel
	}()
}

func (l *remote) Done() <-chan struct{} { return l.conn.done }

func (l *remote) Close() error {
	err := l.client.Close()
	l.stop()
	if errors.Is(err, rpc.ErrShutdown) {
		return nil
	}
	return err
}

// watched is a connection that tells when it has ended.
type watched struct {
	net.Conn
	once sync.Once
	done chan struct{}
}

func watch(conn net.Conn) *watched { return &watched{Conn: conn, done: make(chan struct{})} }

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil {
		w.once.Do(func() { close(w.done) })
	}
	return n, err
}

// Service is what net/rpc calls. It is exported for net/rpc only.
type Service struct{ files *Files }

// Do does an operation.
func (s *Service) Do(r Request, answer *Response) error {
	*answer = s.files.do(r)
	return nil
}

// Cancel cancels an operation.
func (s *Service) Cancel(number uint64, done *bool) error {
	s.files.cancel(number)
	*done = true
	return nil
}

// Progress reports how far operations have come.
func (s *Service) Progress(numbers []uint64, answer *Moved) error {
	*answer = s.files.progress(numbers)
	return nil
}

// endTimeout is how long Serve waits for operations when the agent has left: qemu-img must be ended, and what hangs must not wait.
const endTimeout = 2 * time.Second

// Serve does the operations that come over a connection, until the connection or ctx ends. It then cancels those in progress, and waits
// for them, but no longer than two seconds: the caller must end the process.
func Serve(ctx context.Context, conn net.Conn, f *Files) error {
	server := rpc.NewServer()
	if err := server.RegisterName(serviceName, &Service{f}); err != nil {
		return err
	}
	w := watch(conn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.ServeConn(w) // returns when every operation has ended
	}()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	f.cancelAll()
	_ = conn.Close()
	select {
	case <-ended:
	case <-time.After(endTimeout):
	}
	return nil
}
