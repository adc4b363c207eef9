package audit

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sendense/backup-agent/agent/logkey"
)

// A Recorder records requests and their answers in a log. A request is answered whether it can be recorded or not: a full disk must not stop
// a backup. What could not be recorded is counted, and is in the journal. A nil Recorder records nothing.
type Recorder struct {
	log      *Log
	journal  *slog.Logger
	failures prometheus.Counter
	users    sync.Map // names by uid
	problem  atomic.Pointer[error]
	refusals refusals
}

// NewRecorder returns a Recorder that writes to a log, and registers its metric. A nil log is one that could not be opened: every entry
// counts as a failure.
func NewRecorder(l *Log, journal *slog.Logger, metrics prometheus.Registerer) (*Recorder, error) {
	r := &Recorder{log: l, journal: journal, failures: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sendense_audit_failures_total",
		Help: "Requests and answers that could not be written to the audit log.",
	})}
	if l == nil {
		r.problem.Store(&errNotOpen)
	}
	if metrics == nil {
		return r, nil
	}
	return r, metrics.Register(r.failures)
}

// Problem is why the last entry could not be written; nil if it was, and of a nil Recorder.
func (r *Recorder) Problem() error {
	if r == nil {
		return nil
	}
	if err := r.problem.Load(); err != nil {
		return *err
	}
	return nil
}

var errNotOpen = errors.New("the audit log could not be opened when the agent started: the journal says why")

// Asked records a request before anything is done, and returns its sequence for Answered.
func (r *Recorder) Asked(e Entry) (sequence uint64) {
	if r == nil {
		return 0
	}
	e.Kind, e.Params, e.User = Request, bounded(e.Params), r.user(e.UID)
	return r.append(e, false).Sequence
}

// Answered records the answer to a request, and waits until both are on the disk. e is the entry of the request with the result.
func (r *Recorder) Answered(sequence uint64, e Entry) {
	if r == nil {
		return
	}
	e.Kind, e.Of, e.Params, e.User = Answer, sequence, nil, r.user(e.UID)
	if len(e.Message) > MaxParams {
		e.Message = strings.ToValidUTF8(e.Message[:MaxParams], "") + "…"
	}
	head := r.append(e, true)
	attrs := []slog.Attr{slog.String("method", e.Method), slog.String("user", e.User), slog.Uint64("audit_seq", head.Sequence), slog.String("audit_digest", head.Digest)}
	if e.UID != nil {
		attrs = append(attrs, slog.Uint64("peer_uid", uint64(*e.UID)), slog.Int("peer_pid", int(e.PID)))
	}
	if e.Reason != "" {
		attrs = append(attrs, slog.String(logkey.Reason, e.Reason))
	}
	r.journal.LogAttrs(context.Background(), slog.LevelInfo, "request answered", attrs...)
}

func (r *Recorder) append(e Entry, sync bool) Head {
	if r.log == nil {
		r.failures.Inc()
		return Head{}
	}
	head, err := r.log.Append(e, sync)
	if err != nil {
		r.problem.Store(&err)
		r.failures.Inc()
		r.journal.Error("the audit log cannot be written", "method", e.Method, logkey.Error, err)
		return head
	}
	r.problem.Store(nil)
	return head
}

// user returns the name of a user; "" if he has none.
func (r *Recorder) user(uid *uint32) string {
	if uid == nil {
		return ""
	}
	if name, known := r.users.Load(*uid); known {
		return name.(string)
	}
	name := ""
	if u, err := user.LookupId(strconv.FormatUint(uint64(*uid), 10)); err == nil {
		name = u.Username
	}
	r.users.Store(*uid, name)
	return name
}

// bounded returns parameters that fit an entry. Those that are too long, or no JSON, are a text.
func bounded(params json.RawMessage) json.RawMessage {
	switch {
	case len(params) == 0:
		return nil
	case len(params) <= MaxParams && json.Valid(params):
		return params
	}
	text, _ := json.Marshal(strings.ToValidUTF8(string(params[:min(len(params), MaxParams)]), "?") + "…") // a text always encodes
	return text
}
