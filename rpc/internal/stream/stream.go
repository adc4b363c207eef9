// Package stream is the connection of a client of the agent: messages one way, answers and notifications the other way. It knows JSON-RPC,
// and none of the agent's types.
package stream

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

// A Stream frames messages for the jrpc2 client, and keeps what that client drops: an error without an ID that the
// agent sends before it closes the connection, and answers that arrive together with the end of the connection, which the
// client could handle in either order. It also takes the notifications out of the stream.
type Stream struct {
	nc  net.Conn
	dec *json.Decoder

	mu      sync.Mutex
	pending map[string]bool // answers handed out, by ID, until their call has returned; false: the call returned first
	settled chan struct{}   // closed when pending is empty after the end
	reason  json.RawMessage
	err     error
	done    chan struct{} // closed when there is nothing more to receive

	notify func(method string, params json.RawMessage)
}

// New makes a stream of an open connection. It calls notify with each notification, from the goroutine that receives.
func New(nc net.Conn, notify func(method string, params json.RawMessage)) *Stream {
	return &Stream{
		nc: nc, dec: json.NewDecoder(nc), notify: notify,
		pending: map[string]bool{}, settled: make(chan struct{}), done: make(chan struct{}),
	}
}

// Send writes one request.
func (s *Stream) Send(message []byte) error {
	s.nc.SetWriteDeadline(time.Now().Add(sendTimeout))
	_, err := s.nc.Write(append(message, '\n'))
	if err != nil { // what is left to read says why; part of a request may be sent, so nothing can follow it
		s.nc.SetReadDeadline(time.Now().Add(settleTimeout / 2))
	}
	return err
}

// Recv returns the next answer that belongs to a call.
func (s *Stream) Recv() ([]byte, error) {
	for {
		var message json.RawMessage
		if err := s.dec.Decode(&message); err != nil {
			return nil, s.end(err)
		}
		var head struct {
			Version string          `json:"jsonrpc"`
			ID      json.RawMessage `json:"id"`
			Error   json.RawMessage `json:"error"`
			Method  string          `json:"method"`
			Params  json.RawMessage `json:"params"`
		}
		if err := json.Unmarshal(message, &head); err != nil || head.Version != "2.0" {
			return nil, s.end(fmt.Errorf("the answer is not JSON-RPC 2.0: %.80q", message))
		}
		if head.Method != "" {
			s.notify(head.Method, head.Params)
			continue
		}
		if !isNull(head.Error) && isNull(head.ID) {
			s.mu.Lock()
			s.reason = head.Error
			s.mu.Unlock()
			continue
		}
		s.received(string(head.ID))
		return message, nil
	}
}

func isNull(value json.RawMessage) bool { return len(value) == 0 || string(value) == "null" }

// Close closes the connection.
func (s *Stream) Close() error { return s.nc.Close() }

func (s *Stream) received(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, gaveUp := s.pending[id]; gaveUp {
		delete(s.pending, id)
		return
	}
	s.pending[id] = true
}

// Delivered says that the call of the ID has returned, with or without its answer.
func (s *Stream) Delivered(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pending[id] {
		s.pending[id] = false // its answer may still arrive
		return
	}
	delete(s.pending, id)
	if s.err != nil && !s.anyPending() {
		s.settle()
	}
}

func (s *Stream) anyPending() bool {
	for _, handedOut := range s.pending {
		if handedOut {
			return true
		}
	}
	return false
}

func (s *Stream) settle() {
	select {
	case <-s.settled:
	default:
		close(s.settled)
	}
}

// end records the end of the connection, and waits until the answers before it are delivered.
func (s *Stream) end(err error) error {
	s.mu.Lock()
	s.err = err
	if !s.anyPending() {
		s.settle()
	}
	s.mu.Unlock()
	select {
	case <-s.settled:
	case <-time.After(settleTimeout):
	}
	close(s.done)
	return err
}

// Done is closed when there is nothing more to receive.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Ended returns why the connection ended: the error object that the agent sent (nil if it sent none), and the error of the connection. It
// waits a moment for them, because a write can fail before the last answer is read.
func (s *Stream) Ended() (json.RawMessage, error) {
	select {
	case <-s.done:
	case <-time.After(settleTimeout):
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(s.err, io.EOF):
		return s.reason, errors.New("the agent closed it")
	case errors.Is(s.err, net.ErrClosed):
		return s.reason, errors.New("it was closed on this side")
	}
	return s.reason, s.err
}
