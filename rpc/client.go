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

	"github.com/sendense/backup-agent/rpc/internal/stream"
)

// DefaultSocket is where the agent listens unless its configuration says otherwise.
const DefaultSocket = "/run/sendense-agent/agent.sock"

// Client is a connection to an agent. Its methods may be called from several goroutines at once.
//
// Every method returns an [*Error] when the agent refused the call or the call failed, an [*UnreachableError] when no agent
// listens on the socket or the connection ended before the answer, and the context's error when the context ended first.
// The end of a context stops the waiting only: the agent continues with the request.
type Client struct {
	scheduleCalls
	socket   string
	stream   *stream.Stream
	rpc      *jrpc2.Client
	inboxes  inboxes
	progress listeners
}

// Dial connects to the agent that listens on the Unix socket at the path. The caller closes the client. The error is an
// [*UnreachableError].
func Dial(ctx context.Context, socketPath string) (*Client, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", socketPath)
	if err != nil {
		return nil, &UnreachableError{Socket: socketPath, Err: err}
	}
	return NewClient(nc, socketPath), nil
}

// NewClient makes a client of an open connection. The name stands for the socket in errors.
func NewClient(nc net.Conn, name string) *Client {
	c := &Client{socket: name}
	c.scheduleCalls = scheduleCalls{c}
	c.stream = stream.New(nc, func(method string, params json.RawMessage) {
		c.inboxes.deliver(method, params)
		c.progress.deliver(method, params)
	})
	c.rpc = jrpc2.NewClient(c.stream, nil)
	return c
}

// Close ends the connection. Calls that wait for an answer return an [*UnreachableError].
func (c *Client) Close() error {
	c.rpc.Close()
	return nil
}

// Call calls a method by its name. Params must encode as a JSON object, or be nil. The result is decoded into result, a
// pointer, or dropped if that is nil. Call is for methods that the Client has no method for.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	sent := !c.rpc.IsStopped()
	// A batch of one is sent as a single call. Unlike Call it returns the ID of the answer.
	answers, err := c.rpc.Batch(ctx, []jrpc2.Spec{{Method: method, Params: params}})
	if err != nil {
		return c.lost(ctx, err, sent)
	}
	defer c.stream.Delivered(answers[0].ID())
	if e := answers[0].Error(); e != nil {
		return c.failed(ctx, e)
	}
	if result == nil {
		return nil
	}
	if err := answers[0].UnmarshalResult(result); err != nil {
		return fmt.Errorf("%s: the answer cannot be read, the agent may be another version: %w", method, err)
	}
	return nil
}

// failed turns an error of the library into one of ours. When the context or the connection ended, the library answers
// the call itself, with its own codes.
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

// lost explains a call without an answer: the caller gave up, the agent said why it closed, or the agent is gone.
func (c *Client) lost(ctx context.Context, err error, sent bool) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	refusal, cause := c.stream.Ended()
	var reason *Error
	if json.Unmarshal(refusal, &reason) == nil && reason != nil {
		return reason
	}
	if cause != nil {
		err = cause
	}
	return &UnreachableError{Socket: c.socket, Sent: sent, Err: err}
}

// UnreachableError says that no agent answered on a socket.
type UnreachableError struct {
	Socket string
	Sent   bool // the request may have reached the agent: it may have carried it out, or still do it
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
		return "run this as root or as a member of the group that owns the socket (sendense)"
	}
	if e.Sent {
		return "the agent may have carried it out: look before you repeat it; systemctl status sendense-agent"
	}
	return "is sendense-agent running? systemctl status sendense-agent"
}
