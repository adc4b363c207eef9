package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

const (
	maxInFlight   = 16          // messages of one connection, and calls, that run in parallel; more wait
	lingerTimeout = time.Second // how long a client that was refused may keep sending
)

// A conn is one client's connection.
type conn struct {
	srv  *Server
	nc   *net.UnixConn
	peer caller
	user *user // shared with the user's other connections; set once it is admitted
	in   *stream

	watches  watches
	messages chan struct{} // one token for each message that is answered now
	calls    chan struct{} // one token for each call that runs
	work     sync.WaitGroup

	writing sync.Mutex

	mu       sync.Mutex // guards draining together with the read deadline
	draining bool
}

func newConn(s *Server, nc *net.UnixConn, peer caller) *conn {
	c := &conn{
		srv: s, nc: nc, peer: peer,
		messages: make(chan struct{}, maxInFlight),
		calls:    make(chan struct{}, maxInFlight),
	}
	c.in = newStream(nc, s.opt.MaxMessageBytes, s.opt.MessageTimeout, c.setReadDeadline)
	return c
}

// serve answers messages until the client has sent its last one, or sends something else. It returns when all are answered.
func (c *conn) serve(ctx context.Context) {
	defer c.close()
	err := c.read(ctx)
	refusal := c.refusal(err)
	if refusal != nil {
		c.srv.log.Info("rpc connection closed", "reason", refusal.Data.Reason, "peer", c.peer, "error", err)
		c.send(failure(nullID, refusal))
	}
	c.work.Wait()
	if errors.Is(err, io.EOF) && !c.isDraining() {
		c.outlast()
	}
	c.watches.stop()
	c.watches.work.Wait()
	if refusal != nil {
		c.linger()
	}
}

func (c *conn) read(ctx context.Context) error {
	for {
		message, err := c.in.next()
		if err != nil {
			return err
		}
		c.messages <- struct{}{}
		c.user.take(ctx, message)
		c.work.Go(func() {
			defer func() {
				c.user.give(message)
				<-c.messages
			}()
			c.answer(ctx, message)
		})
	}
}

// refusal is the error that tells the client why reading ended; nil if there is nothing to tell.
func (c *conn) refusal(err error) *rpc.Error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errNotUTF8):
		return rpc.NewError(rpc.ReasonParseError, "parse error: "+err.Error()).
			WithHint("send JSON-RPC 2.0 requests; the connection is closed, because the start of the next request cannot be found")
	case errors.Is(err, errTooLarge):
		return rpc.NewError(rpc.ReasonMessageTooLarge, err.Error()).
			WithHint("send less in one message")
	case errors.Is(err, os.ErrDeadlineExceeded) && c.isDraining():
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return rpc.NewError(rpc.ReasonMessageTimeout, "the message did not end within "+c.srv.opt.MessageTimeout.String())
	default:
		return nil
	}
}

// answer answers one message: a request, or a batch of them.
func (c *conn) answer(ctx context.Context, message json.RawMessage) {
	switch {
	case tooDeep(message):
		c.send(failure(nullID, malformed("nested deeper than %d", maxDepth)))
	case message[0] == '[':
		c.answerBatch(ctx, message)
	default:
		x := exchange{conn: c}
		if r := c.one(ctx, &x, message); r != nil {
			c.send(*r)
		}
		x.follow()
	}
}

// follow starts what a method does after its answer.
func (x *exchange) follow() {
	if x.then != nil {
		go x.then() // it belongs to the watches, for which serve waits
	}
}

func (c *conn) answerBatch(ctx context.Context, message json.RawMessage) {
	var items []json.RawMessage
	if err := json.Unmarshal(message, &items); err != nil {
		c.send(failure(nullID, malformed("%v", err)))
		return
	}
	if len(items) == 0 || len(items) > maxBatch {
		c.send(failure(nullID, malformed("a batch of %d requests: want 1 to %d", len(items), maxBatch)))
		return
	}
	slots, exchanges := make([]*response, len(items)), make([]exchange, len(items))
	var batch sync.WaitGroup
	for i, item := range items {
		exchanges[i].conn = c
		batch.Go(func() { slots[i] = c.one(ctx, &exchanges[i], item) })
	}
	batch.Wait()
	var responses []response
	for _, r := range slots {
		if r != nil {
			responses = append(responses, *r)
		}
	}
	if len(responses) > 0 { // a batch of notifications has no answer, not even an empty list
		c.send(responses)
	}
	for i := range exchanges {
		exchanges[i].follow()
	}
}

// one answers one request; nil for a notification.
func (c *conn) one(ctx context.Context, x *exchange, item json.RawMessage) *response {
	req, id, malformed := parseRequest(item)
	if malformed != nil {
		r := failure(id, malformed)
		return &r
	}
	c.calls <- struct{}{}
	defer func() { <-c.calls }()
	x.oneWay = req.id == nil
	result, err := c.srv.call(ctx, x, req.method, req.params)
	switch {
	case req.id == nil:
		return nil
	case err != nil:
		r := failure(req.id, err)
		return &r
	}
	return &response{Version: "2.0", Result: result, ID: req.id}
}

// send writes one answer. A client that does not read it in time is disconnected: its other answers would only queue up.
func (c *conn) send(answer any) {
	line, err := encode(answer)
	if err != nil {
		c.srv.log.Error("rpc answer cannot be encoded", "error", err)
		return
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	c.nc.SetWriteDeadline(time.Now().Add(c.srv.opt.WriteTimeout))
	if _, err := c.nc.Write(line); err != nil {
		if !errors.Is(err, net.ErrClosed) {
			c.srv.log.Info("rpc answer not delivered", "peer", c.peer, "error", err)
		}
		c.close()
	}
}

// linger ends the writing and reads for a moment longer. To close with unread bytes would reset the connection, and the
// client might not see the reason.
func (c *conn) linger() {
	c.nc.CloseWrite()
	c.setReadDeadline(time.Now().Add(lingerTimeout))
	io.Copy(io.Discard, c.nc)
}

func (c *conn) close() { c.nc.Close() }

// drain ends reading and the watches, permanently.
func (c *conn) drain() {
	c.watches.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	c.nc.SetReadDeadline(time.Unix(1, 0))
}

func (c *conn) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

func (c *conn) setReadDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.draining {
		c.nc.SetReadDeadline(t)
	}
}
