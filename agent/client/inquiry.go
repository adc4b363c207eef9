package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/sna"
)

// How often the SNA is asked what SBC last reported, which is more often where a short deadline hangs on it, and how long it may take
// to answer.
const (
	askInterval = 3 * time.Second
	askTimeout  = 5 * time.Second
)

// AskEvery is how often the SNA is asked for a deadline of d.
func AskEvery(d time.Duration) time.Duration { return min(d/10, askInterval) }

// An inquiry asks the SNA what SBC last reported to it, beside the run's loop, which never waits for the answer.
type Inquiry struct {
	ctx  context.Context
	wait sync.WaitGroup

	mu    sync.Mutex
	busy  bool
	asked time.Time // when the SNA was last asked
	now   Report    // what it answers
	last  Word      // what SBC last reported, also when the SNA has forgotten it since
}

// A clientWord is what SBC reported of itself. The SNA's own times are left out: it stamps each answer with the present.
type Word struct {
	Phase, Status string
	Percent       float64
	Bytes         int64
}

func (w Word) String() string {
	if w.Phase == "" {
		return ""
	}
	return fmt.Sprintf("%s, %.0f %%", w.Phase, w.Percent)
}

// A snaReport is an answer of the SNA, and how long it has been the same one. Times are those of the questions.
type Report struct {
	Reported    bool // false: SBC has reported nothing
	word        Word
	since, told time.Time // of the first and the last time; zero: there was no answer yet
}

// Same is how long the SNA is known to have answered so. While it does not answer, that does not grow.
func (s Report) Same() time.Duration { return s.told.Sub(s.since) }

// Begin allows questions until the function that it returns is called, which waits for the last one.
func (q *Inquiry) Begin(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	q.mu.Lock()
	q.ctx = ctx
	q.mu.Unlock()
	return func() {
		cancel()
		q.wait.Wait()
	}
}

// Ask asks unless a question is on its way, or was a moment ago.
func (q *Inquiry) Ask(client *sna.Client, jobID string, every time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if q.busy || q.ctx == nil || q.ctx.Err() != nil || now.Sub(q.asked) < every {
		return
	}
	q.busy, q.asked = true, now
	q.wait.Go(func() {
		ctx, cancel := context.WithTimeout(q.ctx, askTimeout)
		defer cancel()
		p, err := client.Progress(ctx, jobID)
		q.mu.Lock()
		defer q.mu.Unlock()
		q.busy = false
		q.take(now, p, err)
	})
}

// take notes an answer. An SNA that does not answer, does not know the call or answers what cannot be read proves nothing. The
// caller holds mu.
func (q *Inquiry) take(asked time.Time, p sna.JobProgress, err error) {
	answer := Report{Reported: err == nil, since: asked, told: asked}
	if err != nil && !errors.Is(err, sna.ErrUnknownJob) {
		return
	}
	if err == nil {
		answer.word = Word{Phase: p.Phase, Status: p.Status, Percent: p.Percentage, Bytes: p.BytesTransferred}
		q.last = answer.word
	}
	if !q.now.told.IsZero() && answer.Reported == q.now.Reported && answer.word == q.now.word {
		answer.since = q.now.since
	}
	q.now = answer
}

// Answer is what the SNA last answered, and what SBC last reported.
func (q *Inquiry) Answer() (Report, Word) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.now, q.last
}
