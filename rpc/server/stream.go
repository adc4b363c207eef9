package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"
	"unicode/utf8"
)

var (
	errTooLarge = errors.New("message is too large")
	errNotUTF8  = errors.New("message is not valid UTF-8")
)

// A stream cuts what a client sends into messages: JSON values, with or without white space between them.
type stream struct {
	dec      *json.Decoder
	gate     *gate
	max      int
	timeout  time.Duration
	deadline func(time.Time) // of reading; the zero time is never
}

func newStream(r io.Reader, maxBytes int, timeout time.Duration, deadline func(time.Time)) *stream {
	g := &gate{r: r}
	return &stream{dec: json.NewDecoder(g), gate: g, max: maxBytes, timeout: timeout, deadline: deadline}
}

// next waits, for ever if need be, for the next message to begin, and a bounded time for it to end. It returns io.EOF
// when the client has finished sending. After any error there is no next message: a stream of JSON values has no mark
// by which to find the beginning of one again.
func (s *stream) next() (json.RawMessage, error) {
	s.deadline(time.Time{})
	s.gate.idle()
	if s.dec.More() { // there is a first byte; or a stray ] or } or the end, which Decode will find again
		s.deadline(time.Now().Add(s.timeout))
	}
	s.gate.allow(s.dec.InputOffset() + int64(s.max))
	var message json.RawMessage
	if err := s.dec.Decode(&message); err != nil {
		return nil, err
	}
	if len(message) > s.max {
		return nil, errTooLarge
	}
	if !utf8.Valid(message) {
		return nil, errNotUTF8
	}
	return message, nil
}

// A gate stands between the connection and the JSON decoder, which by itself reads without bound.
type gate struct {
	r       io.Reader
	passed  int64 // bytes that the decoder got
	limit   int64 // of passed, while a message is being read
	between bool  // no byte of a message has come: white space is dropped, else the decoder would keep it
}

func (g *gate) idle()             { g.between = true }
func (g *gate) allow(limit int64) { g.between, g.limit = false, limit }

func (g *gate) Read(p []byte) (int, error) {
	if !g.between {
		if g.passed >= g.limit {
			return 0, errTooLarge
		}
		p = p[:min(int64(len(p)), g.limit-g.passed)]
	}
	for {
		n, err := g.r.Read(p)
		if g.between {
			n = copy(p, bytes.TrimLeft(p[:n], " \t\r\n"))
		}
		g.passed += int64(n)
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// maxDepth is how deep arrays and objects may stand in each other in one message. No parameter needs more than four.
const maxDepth = 64

// tooDeep looks at a valid JSON value.
func tooDeep(message []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(message); i++ {
		switch c := message[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
