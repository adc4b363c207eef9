package snatest

import (
	"context"
	"time"
)

// telemetry is what SBC posts to the SHA while it copies.
type telemetry struct {
	JobID            string     `json:"job_id"`
	JobType          string     `json:"job_type"`
	Status           string     `json:"status"` // "running", then "completed"; never "failed"
	CurrentPhase     string     `json:"current_phase"`
	BytesTransferred int64      `json:"bytes_transferred"`
	TotalBytes       int64      `json:"total_bytes"`
	TransferSpeedBps int64      `json:"transfer_speed_bps"`
	ETASeconds       int        `json:"eta_seconds"`
	ProgressPercent  float64    `json:"progress_percent"`
	Disks            []struct{} `json:"disks"` // always empty
	Timestamp        string     `json:"timestamp"`
}

// startTelemetry reports the copy of one disk from a goroutine of its own. stop
// ends it; after a copy that came to its end it first says "completed", of the
// disk, though the word reads as if the job were.
func (d *diskRun) startTelemetry(ctx context.Context, total int64) (stop func()) {
	began := time.Now()
	quit, ended := make(chan struct{}), make(chan struct{})
	step := d.server.options.TelemetryBytes
	if step <= 0 {
		step = max(total/10, 1)
	}
	go func() {
		defer close(ended)
		sentAt, sentBytes := began, int64(0)
		for {
			d.server.mu.Lock()
			done, changed := d.doneBytes(), d.server.changed
			d.server.mu.Unlock()
			due := d.server.options.TelemetryInterval - time.Since(sentAt)
			if done-sentBytes >= step || due <= 0 {
				d.sendTelemetry(ctx, "running", done, total, began)
				sentAt, sentBytes = time.Now(), done
				continue
			}
			select {
			case <-changed:
			case <-time.After(due):
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
		d.server.mu.Lock()
		done := d.doneBytes()
		d.server.mu.Unlock()
		if done >= total {
			d.sendTelemetry(ctx, "completed", done, total, began)
		}
	}
}

// doneBytes needs the server's lock.
func (d *diskRun) doneBytes() int64 {
	state := d.state.Disks[d.position]
	return state.BytesWritten + state.BytesZeroed
}

// sendTelemetry posts one report; that it fails is of no consequence to SBC.
func (d *diskRun) sendTelemetry(ctx context.Context, status string, done, total int64, began time.Time) {
	percent := 100 * float64(done) / float64(max(total, 1))
	speed := int64(float64(done) / max(time.Since(began).Seconds(), 1e-3))
	report := telemetry{
		JobID:            d.request.JobID,
		JobType:          "backup",
		Status:           status,
		CurrentPhase:     "transferring",
		BytesTransferred: done,
		TotalBytes:       total,
		TransferSpeedBps: speed,
		ETASeconds:       int((total - done) / max(speed, 1)),
		ProgressPercent:  percent,
		Disks:            []struct{}{},
		Timestamp:        time.Now().Format(time.RFC3339),
	}
	d.server.reportProgress(d.request.JobID, progressReport{
		Phase: "Transfer", Percentage: percent, Bytes: done, Total: total, SpeedBps: speed, Completed: status == "completed",
	})
	if d.callback.base == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, telemetryTimeout)
	defer cancel()
	code, err := d.callback.post(ctx, "/api/v1/telemetry/backup/"+d.request.JobID, report)
	if err != nil || code >= 400 {
		d.log.Warn("telemetry not delivered", "status", code, "error", err)
		return
	}
	d.update(func(s *RunState) { s.Telemetry++ })
}
