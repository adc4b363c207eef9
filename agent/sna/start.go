package sna

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// StartResponse is the SNA's answer that it has started an SBC. It says nothing
// about the login to vCenter, which comes later.
type StartResponse struct {
	JobID   string
	Status  string // always "started"
	Message string // for a person; one line, at most 4 KiB
	// StartedAt is by the SNA's clock; zero without a readable time.
	StartedAt time.Time
	// PID is the process id of SBC on the SNA's machine; 0 if it is not known.
	PID int
}

// Start asks the SNA to start one SBC for the job. It writes at most one POST to
// at most one connection: it retries nothing, follows no redirect and uses no
// kept-alive connection.
//
// Its errors are those of the package comment. After [NotStarted] the caller
// undoes its work; otherwise it keeps the exports and waits for evidence. If ctx
// ends after a byte of the request was written, it is an *OutcomeUnknownError.
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

// parseStartAnswer accepts only a 200 that says "started" for this job. The SNA's
// handler has no other success and no redirect: a 3xx or another 2xx comes from
// another server, which may have forwarded the request. An answer without a job id
// is accepted: the connection carried only this request.
func parseStartAnswer(got answer, jobID string) (StartResponse, error) {
	if got.status != http.StatusOK {
		return StartResponse{}, fmt.Errorf("answered status %d, which an SNA never answers to a start", got.status)
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
