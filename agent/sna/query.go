package sna

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Health is the SNA's answer to a health check. Its uptime is left out: it is the time
// since the answer began.
type Health struct {
	Status    string `json:"status"` // "healthy"
	Timestamp string `json:"timestamp"`
}

// JobStatus is what the SNA remembers of a job. Status stays "running" even
// after SBC has failed: it only proves that the start arrived.
type JobStatus struct {
	JobID            string    `json:"job_id"`
	Status           string    `json:"status"`
	ProgressPercent  float64   `json:"progress_percent"`
	CurrentOperation string    `json:"current_operation"`
	StartTime        time.Time `json:"start_time"`
	LastUpdate       time.Time `json:"last_update"`
	VMPath           string    `json:"vm_path"`
}

// JobProgress is what SBC last told the SNA. It is a hint: the percentage can
// pass 100 and the status is never "failed".
type JobProgress struct {
	JobID            string  `json:"job_id"`
	Status           string  `json:"status"`
	SyncType         string  `json:"sync_type"` // "full" or "incremental", "" before the first disk
	Phase            string  `json:"phase"`
	Percentage       float64 `json:"percentage"`
	CurrentOperation string  `json:"current_operation"`
	BytesTransferred int64   `json:"bytes_transferred"`
	TotalBytes       int64   `json:"total_bytes"`
	Throughput       struct {
		CurrentMBps float64 `json:"current_mbps"`
		AverageMBps float64 `json:"average_mbps"`
		PeakMBps    float64 `json:"peak_mbps"`
	} `json:"throughput"`
	Timing struct {
		ElapsedMs  int64 `json:"elapsed_ms"`
		ETASeconds int   `json:"eta_seconds"`
	} `json:"timing"`
}

// Status asks what the SNA remembers of a job; ErrUnknownJob if nothing.
func (c *Client) Status(ctx context.Context, jobID string) (JobStatus, error) {
	var status JobStatus
	err := c.getJob(ctx, "status", jobID, &status)
	return status, err
}

// Progress asks what SBC last reported to the SNA; ErrUnknownJob before the
// first report. Only the SNA's own text counts: a router that does not know the
// call answers 404, too, and proves nothing.
func (c *Client) Progress(ctx context.Context, jobID string) (JobProgress, error) {
	var progress JobProgress
	err := c.getJob(ctx, "progress", jobID, &progress)
	if err == nil && progress.JobID != jobID {
		return JobProgress{}, fmt.Errorf("sna progress: job %s: the answer is about job %q", jobID, cleanText(progress.JobID, nil))
	}
	progress.Phase, progress.Status = cleanText(progress.Phase, nil), cleanText(progress.Status, nil)
	return progress, err
}

func (c *Client) getJob(ctx context.Context, name, jobID string, into any) error {
	if !jobIDShape.MatchString(jobID) {
		return invalid("job_id", `must begin with "backup-" and contain only letters, digits and "._-"`)
	}
	err := c.get(ctx, name, "/api/v1/"+name+"/"+url.PathEscape(jobID), into)
	var refused *RefusedError
	if errors.As(err, &refused) && refused.StatusCode == http.StatusNotFound && unknownJob(refused.Body) {
		return fmt.Errorf("sna %s: job %s: %w", name, jobID, ErrUnknownJob)
	}
	return err
}

// unknownJob says whether the text of a 404 is the SNA's own about a job. A router's
// "404 page not found" is not.
func unknownJob(text string) bool {
	return strings.HasPrefix(strings.ToLower(text), "job not found")
}

func (c *Client) get(ctx context.Context, name, path string, into any) error {
	got, err := c.exchange(ctx, call{
		name:    name,
		method:  http.MethodGet,
		path:    path,
		timeout: c.options.QueryTimeout,
		limit:   maxQueryAnswer,
	})
	if err != nil {
		return err
	}
	return got.decode(name, into)
}

// decode reads a 200 as JSON.
func (a answer) decode(name string, into any) error {
	if a.status != http.StatusOK {
		return fmt.Errorf("sna %s: answered status %d instead of 200: is this an SNA?", name, a.status)
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("sna %s: unreadable answer: %s: is this an SNA?", name, a.clean(err.Error()))
	}
	return nil
}
