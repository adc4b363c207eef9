package journallog

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

const (
	maxQueued = 4096                   // lines that wait for a journal that does not answer
	patience  = 100 * time.Millisecond // how long the first of them delays its caller
)

var errLost = errors.New("the journal does not answer, and too many lines wait for it")

// A line of the journal.
type line struct {
	message  string
	priority journal.Priority
	fields   map[string]string
	sent     chan error // gets the result
}

// A sender sends lines one after the other. The socket of the journal is full soon when journald hangs, and then a write to it waits.
type sender struct {
	lines chan line
	late  atomic.Bool  // the journal does not answer: nobody waits for it
	lost  atomic.Int64 // lines since the last one that was sent
}

func newSender() *sender {
	s := &sender{lines: make(chan line, maxQueued)}
	go s.run() // until the process ends
	return s
}

// send waits until the line is sent, as long as the journal answers: what a caller does next is in the journal after it.
func (s *sender) send(l line) error {
	l.sent = make(chan error, 1)
	select {
	case s.lines <- l:
	default:
		s.lost.Add(1)
		return errLost
	}
	if s.late.Load() {
		return nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-l.sent:
		return err
	case <-timer.C:
		s.late.Store(true)
		return nil
	}
}

func (s *sender) run() {
	for l := range s.lines {
		l.sent <- journal.Send(l.message, l.priority, l.fields)
		if len(s.lines) > 0 {
			continue
		}
		if n := s.lost.Swap(0); n > 0 {
			_ = journal.Send(fmt.Sprintf("log lines are missing before this one: the journal did not answer lines=%q", fmt.Sprint(n)), journal.PriWarning,
				map[string]string{"LINES": fmt.Sprint(n)})
		}
		s.late.Store(false)
	}
}
