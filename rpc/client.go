package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	"github.com/creachadair/jrpc2"
)

// DefaultSocket is where the agent listens unless its configuration says otherwise.
const DefaultSocket = "/run/sendense-agent/agent.sock"

// Client is a connection to an agent. Its methods may be called from several goroutines at once.
//
// Every method returns an [*Error] when the agent refused or failed, an [*UnreachableError] when there is no agent at
// the socket or the connection ended before the answer, and the context's error when that ended first. A context that
// ends stops the waiting only: the agent goes on with what was asked of it.
type Client struct {
	socket string
	ch     *clientChannel
	rpc    *jrpc2.Client
}

// Dial connects to the agent that listens on the Unix socket at the path. Close the client when done. The error is
// an [*UnreachableError].
func Dial(ctx context.Context, socketPath string) (*Client, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", socketPath)
	if err != nil {
		return nil, &UnreachableError{Socket: socketPath, Err: err}
	}
	return NewClient(nc, socketPath), nil
}

// NewClient makes a client of a connection that is open already. The name stands for the socket in errors.
func NewClient(nc net.Conn, name string) *Client {
	ch := newClientChannel(nc)
	return &Client{socket: name, ch: ch, rpc: jrpc2.NewClient(ch, nil)}
}

// Close ends the connection. Calls that wait for an answer return an [*UnreachableError].
func (c *Client) Close() error {
	c.rpc.Close()
	return nil
}

// Call calls a method by its name. Params has to encode as a JSON object, or be nil. The result is decoded into
// result, a pointer, or dropped when that is nil. It is for methods that have no method of the Client's own.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	sent := !c.rpc.IsStopped()
	// A batch of one is sent as a plain call, and unlike Call it tells the ID of the answer.
	answers, err := c.rpc.Batch(ctx, []jrpc2.Spec{{Method: method, Params: params}})
	if err != nil {
		return c.lost(ctx, err, sent)
	}
	defer c.ch.delivered(answers[0].ID())
	if e := answers[0].Error(); e != nil {
		return c.failed(ctx, e)
	}
	if result == nil {
		return nil
	}
	if err := answers[0].UnmarshalResult(result); err != nil {
		return fmt.Errorf("%s: the answer is not what was expected, the agent may be of another version: %w", method, err)
	}
	return nil
}

// failed turns an error of the library into one of ours. The library answers a call itself, with codes of its own,
// when its context or the connection ended.
func (c *Client) failed(ctx context.Context, e *jrpc2.Error) error {
	if e.Code == jrpc2.Cancelled || e.Code == jrpc2.DeadlineExceeded ||
		e.Code == jrpc2.InternalError && e.Data == nil && c.rpc.IsStopped() {
		return c.lost(ctx, e, true)
	}
	wire := &Error{Code: Code(e.Code), Message: e.Message}
	if json.Unmarshal(e.Data, &wire.Data) != nil {
		wire.Data = ErrorData{}
	}
	return wire
}

// lost explains a call that got no answer: the caller gave up, the agent said why it closed, or it is gone.
func (c *Client) lost(ctx context.Context, err error, sent bool) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	reason, cause := c.ch.ended()
	if reason != nil {
		return reason
	}
	if cause != nil {
		err = cause
	}
	return &UnreachableError{Socket: c.socket, Sent: sent, Err: err}
}

// UnreachableError says that no agent answered at a socket.
type UnreachableError struct {
	Socket string
	Sent   bool // the request may have reached the agent, which may have carried it out or may still
	Err    error
}

func (e *UnreachableError) Error() string {
	what := "cannot reach the agent at " + e.Socket
	switch {
	case e.Sent:
		what = "connection to the agent at " + e.Socket + " ended before the answer"
	case errors.Is(e.Err, fs.ErrNotExist):
		return what + ": there is no such socket"
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return what + ": nothing listens on the socket"
	case errors.Is(e.Err, fs.ErrPermission):
		return what + ": permission denied"
	}
	return what + ": " + e.Err.Error()
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *UnreachableError) Hint() string {
	if errors.Is(e.Err, fs.ErrPermission) {
		return "call it as root, or as a member of the group that owns the socket (sendense)"
	}
	if e.Sent {
		return "it may have been carried out: look before repeating it; systemctl status sendense-agent"
	}
	return "is sendense-agent running? systemctl status sendense-agent"
}
