package sna

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// StartResponse is the SNA's word that it forked an SBC. It says nothing about
// the login to vCenter, which comes later.
type StartResponse struct {
	JobID   string
	Status  string // always "started"
	Message string // for a person; one line, at most 4 KiB
	// StartedAt is the SNA's clock; zero when it sent none that can be read.
	StartedAt time.Time
	// PID is of the SBC process, on the SNA's machine; 0 when not told.
	PID int
}

// Start asks the SNA to fork one SBC for the job. It writes at most one POST to
// at most one connection: there is no retry at any level, no redirect is
// followed and no kept-alive connection is used.
//
// Its errors are those of the package comment. A caller undoes its work when
// [NotStarted], and otherwise keeps the exports and waits for evidence. The end
// of ctx is an *OutcomeUnknownError once a byte of the request was written.
func (c *Client) Start(ctx context.Context, request StartRequest) (StartResponse, error) {
	body, err := request.body()
	if err != nil {
		return StartResponse{}, err
	}
	got, err := c.exchange(ctx, call{
		name:    "start",
		method:  http.MethodPost,
		path:    "/api/v1/backup/start",
		body:    body,
		timeout: c.options.StartTimeout,
		limit:   maxStartAnswer,
		secrets: []string{request.VCenterPassword},
	})
	if err != nil {
		var interrupted *interruptedError
		if errors.As(err, &interrupted) {
			return StartResponse{}, &OutcomeUnknownError{
				JobID: request.JobID, StatusCode: interrupted.status, Err: interrupted.err,
			}
		}
		return StartResponse{}, err
	}
	response, err := parseStartAnswer(got, request.JobID)
	if err != nil {
		return StartResponse{}, &OutcomeUnknownError{JobID: request.JobID, StatusCode: got.status, Err: err}
	}
	return response, nil
}

// startAnswer is the body of a 200.
type startAnswer struct {
	JobID     string `json:"job_id"`
	Status    string `json:"status"`
	Message   string `json:"message"`
	StartedAt string `json:"started_at"`
	PID       int    `json:"pid"`
}

// parseStartAnswer accepts a 200 that says "started" for this job, and nothing
// else. The SNA's handler knows no other success and no redirect: whoever sent a
// 3xx or another 2xx is not that handler, and may have passed the request on.
// An answer without a job id is accepted: it contradicts nothing, and it came
// over a connection that carried this one request.
func parseStartAnswer(got answer, jobID string) (StartResponse, error) {
	if got.status != http.StatusOK {
		return StartResponse{}, fmt.Errorf("answered status %d, which the SNA's start never does", got.status)
	}
	var wire startAnswer
	if err := json.Unmarshal(got.body, &wire); err != nil {
		return StartResponse{}, fmt.Errorf("answered 200 with unreadable JSON: %s", got.clean(err.Error()))
	}
	if wire.Status != "started" {
		return StartResponse{}, fmt.Errorf("answered 200 with status %q instead of \"started\"", got.clean(wire.Status))
	}
	if wire.JobID != "" && wire.JobID != jobID {
		return StartResponse{}, fmt.Errorf("answered 200 for job %q", got.clean(wire.JobID))
	}
	startedAt, _ := time.Parse(time.RFC3339, wire.StartedAt)
	return StartResponse{
		JobID:     jobID,
		Status:    wire.Status,
		Message:   got.clean(wire.Message),
		StartedAt: startedAt,
		PID:       wire.PID,
	}, nil
}
