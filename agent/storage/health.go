package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/logkey"
)

// A State says whether a repository answers.
type State string

// The states.
const (
	OK    State = "ok"
	Slow  State = "slow"  // an operation that takes milliseconds took more than slowAfter, within the last slowFor
	Stuck State = "stuck" // an operation is not answered
)

const (
	slowAfter = time.Second
	slowFor   = time.Minute
	// probeEvery is how often a repository is asked whether it answers; probeLimit is how long it has for that. Together they are less than
	// the five seconds in which every request is answered.
	probeEvery = time.Second
	probeLimit = 3 * time.Second
	probes     = class(probeLimit)
)

// Health is what is known of a repository. It costs no access to it.
type Health struct {
	State     State
	Since     time.Time // of Stuck: when the operation that is not answered began
	Operation string    // of Stuck: that operation
	Err       error     // why the repository cannot be used, although it answers; nil if it can, or if nothing is known yet
}

// A StuckError says that a repository does not answer.
type StuckError struct {
	Repository string
	Since      time.Time
	Operation  string
}

// Error names the repository, the time and the operation.
func (e *StuckError) Error() string {
	return fmt.Sprintf("repository %s does not answer since %s: %s", e.Repository, e.Since.UTC().Format(time.DateTime+" UTC"), e.Operation)
}

// IsStuck reports whether an error says that a repository does not answer.
func IsStuck(err error) bool {
	var e *StuckError
	return errors.As(err, &e)
}

// Health returns what is known of the repository.
func (r *calls) Health() Health {
	r.judge()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stuck != nil:
		return Health{State: Stuck, Since: r.stuck.Since, Operation: r.stuck.Operation, Err: r.unusable}
	case time.Since(r.slow) < slowFor || r.oldest() != nil && r.oldest().class.slow(time.Since(r.oldest().began)):
		return Health{State: Slow, Err: r.unusable}
	}
	return Health{State: OK, Err: r.unusable}
}

// Stuck returns a *StuckError while the repository does not answer; nil if it does.
func (r *calls) Stuck() error {
	if h := r.Health(); h.State == Stuck {
		return &StuckError{Repository: r.options.ID, Since: h.Since, Operation: h.Operation}
	}
	return nil
}

// Watch asks the repository now and then whether it answers, until ctx ends, and its process as well. One question of each kind is in
// progress at a time.
func (r *Repository) Watch(ctx context.Context) {
	tick := time.NewTicker(probeEvery / 2)
	defer tick.Stop()
	answered, ponged := make(chan error, 1), make(chan error, 1)
	var asked, pinged time.Time
	asking, pinging := false, false
	for {
		if !asking && time.Since(asked) >= probeEvery {
			asked, asking = time.Now(), true
			go func() { answered <- opProbe.tell(ctx, r, none{}) }()
		}
		if !pinging && time.Since(pinged) >= probeEvery/2 {
			pinged, pinging = time.Now(), true
			go func() { ponged <- opPing.tell(ctx, r, none{}) }()
		}
		select {
		case err := <-answered:
			asking = false
			r.note(ctx, func() { r.unusable = err })
		case err := <-ponged:
			pinging = false
			if err == nil {
				r.note(ctx, func() { r.pong = pinged })
			}
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		r.judge()
	}
}

// note keeps what an answer says, unless ctx has ended.
func (r *calls) note(ctx context.Context, keep func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() == nil {
		keep()
	}
}

// opPing is answered by the process itself, without a look at its files.
var opPing = declare("answering for its process", probes, func(context.Context, *Files, none) (none, error) { return none{}, nil })

var opProbe = declare("answering at all", probes, func(_ context.Context, f *Files, _ none) (none, error) {
	return none{}, probe(f.spec.Path)
})

// probe reads one entry of a directory and asks for the free space: on a network file system, both ask the server.
func probe(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	_, _ = dir.Readdirnames(1) // an empty directory answers too
	var st unix.Statfs_t
	return unix.Fstatfs(int(dir.Fd()), &st)
}

// judge finds out whether an operation has exceeded its limit, and tells everybody of a change.
func (r *calls) judge() {
	r.mu.Lock()
	was, now := r.stuck, r.overdue()
	if was != nil && now != nil {
		now = was // since the first
	}
	r.stuck = now
	var left []context.CancelCauseFunc
	for _, p := range r.pending {
		if now != nil && p.cancel != nil {
			left = append(left, p.cancel)
			p.cancel = nil
		}
	}
	if now != nil {
		for number, cancel := range r.waiting {
			left = append(left, cancel)
			delete(r.waiting, number)
		}
	}
	closed := r.closed // its operations have ended, so it looks as if it answered
	r.mu.Unlock()
	for _, cancel := range left {
		cancel(now)
	}
	switch {
	case closed:
	case was == nil && now != nil:
		r.log.Error("a repository does not answer", logkey.Repository, r.options.ID, logkey.Error, now)
		r.options.OnChange()
	case was != nil && now == nil:
		r.log.Warn("a repository answers again", logkey.Repository, r.options.ID, "after", time.Since(was.Since).Round(time.Second))
		r.options.OnChange()
	}
}

// overdue returns the error for the first operation that has exceeded its limit; nil if there is none. The caller holds mu.
func (r *calls) overdue() *StuckError {
	var first *pending
	for _, p := range r.pending {
		if p.class != endless && r.isLate(p.began, time.Duration(p.class)) && (first == nil || p.began.Before(first.began)) {
			first = p
		}
	}
	var refused *StuckError
	if first == nil && errors.As(r.refused, &refused) {
		return refused
	}
	if first == nil {
		return nil
	}
	return &StuckError{Repository: r.options.ID, Since: first.began, Operation: first.name}
}

// oldest returns the oldest operation in progress that should be short; nil if there is none. The caller holds mu.
func (r *calls) oldest() *pending {
	var first *pending
	for _, p := range r.pending {
		if p.class != endless && (first == nil || p.began.Before(first.began)) {
			first = p
		}
	}
	return first
}

// busyFor is how long a machine may be too busy to answer anything.
const busyFor = 30 * time.Second

// late reports whether an operation that began then is late. On a busy machine everything is slow: what counts is that the process has
// answered a ping that was sent long after the operation began.
func (r *calls) late(began time.Time, limit time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.isLate(began, limit)
}

// isLate is late for a caller that holds mu.
func (r *calls) isLate(began time.Time, limit time.Duration) bool {
	took := time.Since(began)
	unlinked := r.pong.IsZero() || r.link == nil || isDone(r.link) // nobody asks, or nothing can answer
	return took > limit && (unlinked || r.pong.Sub(began) > limit/2 || took > max(limit, busyFor))
}

// kind is the word for the operations of a class, for metrics.
func (c class) kind() string {
	return map[class]string{reads: "read", changes: "change", endless: "whole", probes: "probe"}[c]
}

// Kinds are the words for the operations that Observe gets: reads of little, changes, whole images or the whole repository, and the
// questions whether the repository answers.
var Kinds = []string{reads.kind(), changes.kind(), endless.kind(), probes.kind()}

// slow reports whether that is long for an operation which reads little.
func (c class) slow(took time.Duration) bool { return (c == reads || c == probes) && took > slowAfter }
