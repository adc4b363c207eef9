package client

import (
	"context"
	"math"
	"sync/atomic"
	"time"
)

const telemetryTimeout = 10 * time.Second

// The cadence of SBC's reports.
const (
	aggregatorTick   = 100 * time.Millisecond
	snaInterval      = 2 * time.Second // between two reports, or 1 %
	snaPercent       = 1.0
	telemetryPercent = 10.0 // between two reports to the SHA, or TelemetryInterval
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

// progressAggregator reports the copy of one disk from a goroutine of its own.
type progressAggregator struct {
	disk    *diskRun
	total   int64 // as SBC believes
	copied  atomic.Int64
	began   time.Time
	sentAt  time.Time
	percent float64 // when last sent
	quit    chan struct{}
	ended   chan struct{}
}

func (d *diskRun) startProgress(ctx context.Context, total int64) *progressAggregator {
	p := &progressAggregator{
		disk: d, total: total, began: time.Now(), sentAt: time.Now(),
		quit: make(chan struct{}), ended: make(chan struct{}),
	}
	go func() {
		defer close(p.ended)
		ticker := time.NewTicker(aggregatorTick)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.maybeSend(ctx)
			case <-p.quit:
				return
			}
		}
	}()
	return p
}

func (p *progressAggregator) stop() {
	close(p.quit)
	<-p.ended
}

// maybeSend reports after two seconds or one percent. With a total of 0, which
// every disk below 1 GiB has, the percentage is NaN or infinite: JSON cannot
// contain it, so the SNA gets no report, and the SHA gets 0.
func (p *progressAggregator) maybeSend(ctx context.Context) {
	copied := p.copied.Load()
	percent := float64(copied) / float64(p.total) * 100
	if time.Since(p.sentAt) < snaInterval && !(percent >= p.percent+snaPercent) {
		return
	}
	speed, eta := int64(0), 0
	if elapsed := time.Since(p.began).Seconds(); elapsed > 0 {
		speed = int64(float64(copied) / elapsed)
	}
	if speed > 0 {
		eta = int(float64(p.total-copied) / float64(speed)) // negative beyond the total
	}
	p.disk.tellSNA(Progress{
		Stage: "Transfer", Status: "in_progress", BytesTransferred: copied, TotalBytes: p.total, ThroughputBPS: speed, Percent: percent,
	})
	p.disk.tellSHA(ctx, telemetry{
		Status: "running", CurrentPhase: "transferring", BytesTransferred: copied, TotalBytes: p.total, TransferSpeedBps: speed, ETASeconds: eta,
	})
	p.sentAt, p.percent = time.Now(), percent
}

// finish reports the end of the disk as if it were the end of the job. It tells the
// SHA twice: "running" and "completed" with the total as bytes, then "completed"
// without numbers.
func (p *progressAggregator) finish(ctx context.Context) {
	p.disk.tellSNA(Progress{Stage: "Transfer", Status: "completed", BytesTransferred: p.total, TotalBytes: p.total, Percent: 100})
	p.disk.tellSHA(ctx, telemetry{Status: "running", CurrentPhase: "completed", BytesTransferred: p.total, TotalBytes: p.total})
	p.disk.tellSHA(ctx, telemetry{Status: "completed", CurrentPhase: "completed"})
}

// tracker is what SBC remembers of its reports to the SHA, for all disks: after the
// first disk reported 100 %, the other disks report by time only.
type tracker struct {
	sentAt  time.Time
	percent float64
}

// tellSHA posts one report if it is due. A failure has no effect.
func (d *diskRun) tellSHA(ctx context.Context, report telemetry) {
	report.JobID, report.JobType, report.Disks = d.request.JobID, "backup", []struct{}{}
	report.Timestamp = time.Now().Format(time.RFC3339)
	if report.TotalBytes > 0 {
		report.ProgressPercent = float64(report.BytesTransferred) / float64(report.TotalBytes) * 100
	}
	if d.callback.base == "" {
		return
	}
	d.reports.Lock()
	defer d.reports.Unlock()
	running := report.Status == "running"
	if running && time.Since(d.tracker.sentAt) < d.host.TelemetryInterval && report.ProgressPercent-d.tracker.percent < telemetryPercent {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, telemetryTimeout)
	defer cancel()
	code, err := d.callback.post(ctx, "/api/v1/telemetry/backup/"+d.request.JobID, report)
	if err != nil || code >= 400 {
		d.log.Warn("telemetry not delivered", "status", code, "error", err)
		return
	}
	if running {
		d.tracker = tracker{time.Now(), report.ProgressPercent}
	}
	d.update(func(s *RunState) { s.Telemetry++ })
}

// isNumber says whether JSON can contain it.
func isNumber(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

// Progress is what SBC posts to the SNA.
type Progress struct {
	Stage            string  `json:"stage"`
	Status           string  `json:"status"`
	SyncType         string  `json:"sync_type"`
	BytesTransferred int64   `json:"bytes_transferred"`
	TotalBytes       int64   `json:"total_bytes"`
	ThroughputBPS    int64   `json:"throughput_bps"`
	Percent          float64 `json:"percent"`
}

// tellSNA reports progress, unless JSON cannot contain it.
func (r *Client) tellSNA(update Progress) {
	if isNumber(update.Percent) {
		r.host.TellSNA(r.request.JobID, update)
	}
}

// stage is SendStageUpdate of SBC.
func (r *Client) stage(name string, percent float64) {
	r.tellSNA(Progress{Stage: name, Status: "in_progress", Percent: percent})
}
