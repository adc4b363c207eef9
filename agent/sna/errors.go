package sna

import (
	"errors"
	"fmt"
)

// ErrUnknownJob: the SNA does not know the job. It keeps jobs in memory only, so
// it forgets them when it restarts, while their SBCs continue. It knows no progress
// of a job before SBC's first report.
var ErrUnknownJob = errors.New("the SNA does not know the job")

// InvalidRequestError: the request breaks a rule that SNA or SBC depend on.
// Nothing was sent.
type InvalidRequestError struct {
	// Field is the JSON name of the offending field.
	Field string
	// Problem says what is wrong with it. It never holds a password.
	Problem string
}

func (e *InvalidRequestError) Error() string {
	return fmt.Sprintf("sna request: %s: %s", e.Field, e.Problem)
}

// UnreachableError: no connection was made, or it ended before one byte of the
// request was written. Nothing was sent.
type UnreachableError struct {
	// URL is the base address of the SNA.
	URL string
	// Err is the reason, usually a *net.OpError or the end of the context.
	Err error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("sna %s: unreachable, nothing was sent: %v; check the tunnel and the SNA service", e.URL, e.Err)
}

// Unwrap returns the reason.
func (e *UnreachableError) Unwrap() error { return e.Err }

// RefusedError: a complete answer with a status of 400 to 599.
type RefusedError struct {
	// Call is the name of the call: start, discover, status, progress, health.
	Call string
	// StatusCode is the HTTP status, 400 to 599.
	StatusCode int
	// Body is the SNA's plain text: at most 4 KiB, one line, no control
	// characters, no password of the request. It may be empty.
	Body string
}

func (e *RefusedError) Error() string {
	if e.Body == "" {
		return fmt.Sprintf("sna %s: refused with status %d and no text", e.Call, e.StatusCode)
	}
	return fmt.Sprintf("sna %s: refused with status %d: %s", e.Call, e.StatusCode, e.Body)
}

// OutcomeUnknownError: the start was sent, at least in part, and no valid answer
// came. An SBC may be running; the request must not be sent again.
type OutcomeUnknownError struct {
	// JobID is the job whose outcome is unknown.
	JobID string
	// StatusCode is the HTTP status of an answer that is not valid, else 0.
	StatusCode int
	// Err says what was wrong with the answer, or why there was none.
	Err error
}

func (e *OutcomeUnknownError) Error() string {
	return fmt.Sprintf("sna start: job %s: outcome unknown: %v; do not send it again, watch its exports instead", e.JobID, e.Err)
}

// Unwrap returns the reason.
func (e *OutcomeUnknownError) Unwrap() error { return e.Err }

// NotStarted reports whether err, from [Client.Start], means that the SNA started
// no job: nothing was sent, or the SNA refused. It is false for nil and for an
// unknown outcome.
func NotStarted(err error) bool {
	var (
		invalid     *InvalidRequestError
		unreachable *UnreachableError
		refused     *RefusedError
	)
	return errors.As(err, &invalid) || errors.As(err, &unreachable) || errors.As(err, &refused)
}
