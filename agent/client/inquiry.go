package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sendense/backup-agent/agent/sna"
)

// The interval between questions to the SNA about SBC's last report, which is shorter for a short deadline, and the time limit of an
// answer.
const (
	askInterval = 3 * time.Second
	askTimeout  = 5 * time.Second
)

// AskEvery is how often the SNA is asked for a deadline of d.
func AskEvery(d time.Duration) time.Duration { return min(d/10, askInterval) }

// An Inquiry asks the SNA what SBC last reported. It works beside the loop of the job, which never waits for the answer.
type Inquiry struct {
	ctx  context.Context
	wait sync.WaitGroup

	mu    sync.Mutex
	busy  bool
	asked time.Time // when the SNA was last asked
	now   Report    // what it answers
	last  Word      // what SBC last reported, even if the SNA has forgotten it since
}

// A Word is what SBC reported about itself. The SNA's own times are left out: it stamps each answer with the current time.
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

// A Report is an answer of the SNA, and since when it has been the same. Times are those of the questions.
type Report struct {
	Reported    bool // false: SBC has reported nothing
	word        Word
	since, told time.Time // of the first and the last time; zero: there was no answer yet
}

// Same is how long the SNA is known to have given the same answer. It does not grow while the SNA does not answer.
func (s Report) Same() time.Duration { return s.told.Sub(s.since) }

// Begin allows questions until the caller calls end, which waits for the last answer.
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

// Ask asks the SNA, unless a question is in progress or the last one was less than every ago.
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

// take stores an answer. If the SNA does not answer, does not know the call, or its answer cannot be read, that proves nothing. The
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

// Answer returns the SNA's last answer and SBC's last report.
func (q *Inquiry) Answer() (Report, Word) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.now, q.last
}
