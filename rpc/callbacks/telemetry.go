package callbacks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// report is the part of SBC's progress report that is used. Numbers may have a fraction.
type report struct {
	Status           string  `json:"status"`
	CurrentPhase     string  `json:"current_phase"`
	BytesTransferred float64 `json:"bytes_transferred"`
	TotalBytes       float64 `json:"total_bytes"`
	BytesPerSecond   float64 `json:"transfer_speed_bps"`
	ProgressPercent  float64 `json:"progress_percent"`
	Error            any     `json:"error"`
}

// telemetry takes SBC's progress reports. They are hints: "completed" comes at the end of every disk, "failed" never, and
// percent can exceed 100. An object is never refused, whatever it contains and whatever job it names, because a hint must
// not fail a backup.
func (r *routes) telemetry(ctx context.Context, req *http.Request, body []byte) (any, error) {
	said, err := parseReport(body)
	if err != nil {
		return nil, err
	}
	id := req.PathValue("job_id")
	if err := r.agent.Clients.Telemetry(id, said.domain(time.Now())); err != nil {
		r.log.DebugContext(ctx, "telemetry of a backup that is not active", "backup_id", id, "status", said.Status, "error", err)
	}
	return map[string]string{"status": "ok"}, nil
}

// parseReport takes any object, and reads what it can.
func parseReport(body []byte) (report, error) {
	var said report
	var odd *json.UnmarshalTypeError // of one field: the others are read anyway
	err := json.Unmarshal(body, &said)
	if err != nil && !errors.As(err, &odd) {
		return report{}, invalid("body: want a telemetry object: %v", err)
	}
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		return report{}, invalid("body: want a telemetry object")
	}
	return said, nil
}

func (t report) domain(now time.Time) record.Telemetry {
	d := record.Telemetry{
		At: now, Status: t.Status, Phase: t.CurrentPhase, BytesTransferred: int64(t.BytesTransferred),
		TotalBytes: int64(t.TotalBytes), BytesPerSecond: t.BytesPerSecond, Percent: t.ProgressPercent,
	}
	switch e := t.Error.(type) {
	case nil:
	case string:
		d.Error = e
	default:
		d.Error = fmt.Sprint(e)
	}
	return d
}
