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

// A stream splits what a client sends into messages: JSON values, with or without white space between them.
type stream struct {
	dec      *json.Decoder
	gate     *gate
	max      int
	timeout  time.Duration
	deadline func(time.Time) // sets the deadline of reading; the zero time is none
}

func newStream(r io.Reader, maxBytes int, timeout time.Duration, deadline func(time.Time)) *stream {
	g := &gate{r: r}
	return &stream{dec: json.NewDecoder(g), gate: g, max: maxBytes, timeout: timeout, deadline: deadline}
}

// next waits without a limit until the next message begins, and a limited time until it ends. It returns io.EOF when the
// client has finished sending. After any error there is no next message: in a stream of JSON values nothing marks the
// start of one.
func (s *stream) next() (json.RawMessage, error) {
	s.deadline(time.Time{})
	s.gate.idle()
	if s.dec.More() { // there is a first byte, or a stray ] or }, or the end: Decode finds these again
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

// A gate limits what the JSON decoder reads from the connection.
type gate struct {
	r       io.Reader
	passed  int64 // bytes that were passed to the decoder
	limit   int64 // of passed, while a message is read
	between bool  // no byte of a message has arrived: white space is dropped, otherwise the decoder would keep it
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

// maxDepth limits the nesting of arrays and objects in one message. No parameter needs more than four.
const maxDepth = 64

// tooDeep checks the nesting of a valid JSON value.
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
