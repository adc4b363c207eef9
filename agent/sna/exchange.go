package sna

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// The largest answers that are read, in bytes.
const (
	maxStartAnswer    = 64 << 10
	maxQueryAnswer    = 1 << 20
	maxDiscoverAnswer = 64 << 20 // 98 VMs take about 200 KiB
	maxAnswerHeader   = 64 << 10
)

// call is one request to the SNA.
type call struct {
	name    string // for errors: start, discover, ...
	method  string
	path    string // below the base URL, escaped
	body    []byte
	timeout time.Duration
	limit   int64
	secrets []string // removed from every text of the answer
}

// answer is a complete answer with a status below 400.
type answer struct {
	status  int
	body    []byte
	secrets []string
}

func (a answer) clean(text string) string { return cleanText(text, a.secrets) }

// interruptedError: at least one byte of the request was written, and there was
// no complete answer.
type interruptedError struct {
	call   string
	status int // 0 without a status line
	err    error
}

func (e *interruptedError) Error() string { return fmt.Sprintf("sna %s: %v", e.call, e.err) }
func (e *interruptedError) Unwrap() error { return e.err }

// exchange sends one request over a connection of its own and reads the whole
// answer. It returns an *UnreachableError when nothing was written, a
// *RefusedError for a status of 400 or above, else an *interruptedError.
func (c *Client) exchange(ctx context.Context, call call) (answer, error) {
	dialed, err := c.dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return answer{}, &UnreachableError{URL: c.URL(), Err: err}
	}
	conn := &onceConn{Conn: dialed}
	defer func() { _ = conn.Close() }() // all was read, or the call has failed

	ctx, cancel := context.WithTimeoutCause(ctx, call.timeout,
		fmt.Errorf("no complete answer within %v: %w", call.timeout, context.DeadlineExceeded))
	defer cancel()
	// After a 101 net/http leaves the connection to the caller and ignores the
	// context, so the end of the call must not depend on it.
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()

	status, body, err := c.roundTrip(ctx, conn, call)
	switch {
	case err != nil && !conn.seal():
		return answer{}, &UnreachableError{URL: c.URL(), Err: because(ctx, err)}
	case err != nil:
		return answer{}, &interruptedError{call: call.name, status: status, err: because(ctx, err)}
	case status >= 400:
		return answer{}, &RefusedError{
			Call: call.name, StatusCode: status, Body: cleanText(string(body), call.secrets),
		}
	}
	return answer{status: status, body: body, secrets: call.secrets}, nil
}

// because returns the cause of a context that has ended, rather than the network
// error that its end led to.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (c *Client) roundTrip(ctx context.Context, conn *onceConn, call call) (int, []byte, error) {
	request, err := c.newRequest(ctx, call)
	if err != nil {
		return 0, nil, err
	}
	transport := conn.transport()
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request) // not http.Client: it follows redirects
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }() // only read from
	body, err := io.ReadAll(io.LimitReader(response.Body, call.limit+1))
	if err != nil {
		return response.StatusCode, nil, fmt.Errorf("status %d, then the answer broke off: %w", response.StatusCode, err)
	}
	if int64(len(body)) > call.limit {
		return response.StatusCode, nil, fmt.Errorf("status %d, then an answer of more than %d bytes", response.StatusCode, call.limit)
	}
	return response.StatusCode, body, nil
}

func (c *Client) newRequest(ctx context.Context, call call) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, call.method, c.base.JoinPath(call.path).String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	if call.body != nil {
		// NewRequest would add a GetBody for a *bytes.Reader, with which
		// net/http may send a body again; a plain reader can be read once.
		request.Body = io.NopCloser(bytes.NewReader(call.body))
		request.ContentLength = int64(len(call.body))
		request.Header.Set("Content-Type", "application/json")
	}
	return request, nil
}

var errSecondConnection = errors.New("no second connection for one request")

// onceConn is a connection that knows whether anything was written to it.
type onceConn struct {
	net.Conn
	mu      sync.Mutex
	written bool // a write has begun
	sealed  bool // no further write may begin
	taken   atomic.Bool
}

func (c *onceConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	sealed := c.sealed
	if !sealed {
		c.written = true // before the write: a failed one may have sent a part
	}
	c.mu.Unlock()
	if sealed {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// seal prevents further writes, and reports whether there was one. Without it the
// writer of net/http, a goroutine of its own, could still begin after RoundTrip
// has returned because the context ended.
func (c *onceConn) seal() (written bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sealed = true
	return c.written
}

// transport returns a transport that can use this connection once, and no other:
// if net/http retries, it has no connection.
func (c *onceConn) transport() *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy: nil, // none from the environment: only the SNA may see the passwords
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			if c.taken.Swap(true) {
				return nil, errSecondConnection
			}
			return c, nil
		},
		DisableKeepAlives:      true,
		DisableCompression:     true, // the limits count bytes on the wire
		MaxResponseHeaderBytes: maxAnswerHeader,
		Protocols:              &protocols,
	}
}
