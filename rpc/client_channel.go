package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// sendTimeout limits how long the sending of a request may take.
const sendTimeout = 30 * time.Second

// settleTimeout limits how long the end of a connection waits until the answers before it are delivered.
const settleTimeout = time.Second

// A clientChannel frames messages for the jrpc2 client, and keeps what that client drops: an error without an ID that the
// agent sends before it closes the connection, and answers that arrive together with the end of the connection, which the
// client could handle in either order. It also takes the notifications out of the stream.
type clientChannel struct {
	nc  net.Conn
	dec *json.Decoder

	mu      sync.Mutex
	pending map[string]bool // answers handed out, by ID, until their call has returned; false: the call returned first
	settled chan struct{}   // closed when pending is empty after the end
	reason  *Error
	err     error
	done    chan struct{} // closed when there is nothing more to receive
	inboxes inboxes

	progress listeners
}

func newClientChannel(nc net.Conn) *clientChannel {
	return &clientChannel{
		nc: nc, dec: json.NewDecoder(nc),
		pending: map[string]bool{}, settled: make(chan struct{}), done: make(chan struct{}),
	}
}

// Send writes one request.
func (c *clientChannel) Send(message []byte) error {
	c.nc.SetWriteDeadline(time.Now().Add(sendTimeout))
	_, err := c.nc.Write(append(message, '\n'))
	if err != nil { // what is left to read says why; part of a request may be sent, so nothing can follow it
		c.nc.SetReadDeadline(time.Now().Add(settleTimeout / 2))
	}
	return err
}

// Recv returns the next answer that belongs to a call.
func (c *clientChannel) Recv() ([]byte, error) {
	for {
		var message json.RawMessage
		if err := c.dec.Decode(&message); err != nil {
			return nil, c.end(err)
		}
		var head struct {
			Version string          `json:"jsonrpc"`
			ID      json.RawMessage `json:"id"`
			Error   *Error          `json:"error"`
			Method  string          `json:"method"`
			Params  json.RawMessage `json:"params"`
		}
		if err := json.Unmarshal(message, &head); err != nil || head.Version != "2.0" {
			return nil, c.end(fmt.Errorf("the answer is not JSON-RPC 2.0: %.80q", message))
		}
		if head.Method != "" {
			c.inboxes.deliver(head.Method, head.Params)
			c.progress.deliver(head.Method, head.Params)
			continue
		}
		if head.Error != nil && (len(head.ID) == 0 || string(head.ID) == "null") {
			c.mu.Lock()
			c.reason = head.Error
			c.mu.Unlock()
			continue
		}
		c.received(string(head.ID))
		return message, nil
	}
}

// Close closes the connection.
func (c *clientChannel) Close() error { return c.nc.Close() }

func (c *clientChannel) received(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, gaveUp := c.pending[id]; gaveUp {
		delete(c.pending, id)
		return
	}
	c.pending[id] = true
}

// delivered says that the call of the ID has returned, with or without its answer.
func (c *clientChannel) delivered(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.pending[id] {
		c.pending[id] = false // its answer may still arrive
		return
	}
	delete(c.pending, id)
	if c.err != nil && !c.anyPending() {
		c.settle()
	}
}

func (c *clientChannel) anyPending() bool {
	for _, handedOut := range c.pending {
		if handedOut {
			return true
		}
	}
	return false
}

func (c *clientChannel) settle() {
	select {
	case <-c.settled:
	default:
		close(c.settled)
	}
}

// end records the end of the connection, and waits until the answers before it are delivered.
func (c *clientChannel) end(err error) error {
	c.mu.Lock()
	c.err = err
	if !c.anyPending() {
		c.settle()
	}
	c.mu.Unlock()
	select {
	case <-c.settled:
	case <-time.After(settleTimeout):
	}
	close(c.done)
	return err
}

// ended returns why the connection ended: the error that the agent sent, and the error of the connection. It waits a
// moment for them, because a write can fail before the last answer is read.
func (c *clientChannel) ended() (*Error, error) {
	select {
	case <-c.done:
	case <-time.After(settleTimeout):
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(c.err, io.EOF):
		return c.reason, errors.New("the agent closed it")
	case errors.Is(c.err, net.ErrClosed):
		return c.reason, errors.New("it was closed on this side")
	}
	return c.reason, c.err
}
