package snatest

import (
	"net/http"
	"time"
)

// progressReport is what SBC last told the SNA of a job.
type progressReport struct {
	Phase      string
	Percentage float64
	Bytes      int64
	Total      int64
	SpeedBps   int64
	Completed  bool
	at         time.Time
}

func (s *Server) reportProgress(jobID string, report progressReport) {
	report.at = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress[jobID] = report
}

// handleProgress answers 404 until SBC's first report.
func (s *Server) handleProgress(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("job")
	s.mu.Lock()
	report, known := s.progress[id]
	started := s.jobs[id].started
	s.mu.Unlock()
	if !known {
		plain(w, http.StatusNotFound, "job not found")
		return
	}
	status := "in_progress"
	if report.Completed {
		status = "completed"
	}
	mbps := float64(report.SpeedBps) / (1 << 20)
	writeJSON(w, map[string]any{
		"job_id":            id,
		"status":            status,
		"sync_type":         "",
		"phase":             report.Phase,
		"percentage":        report.Percentage,
		"current_operation": report.Phase,
		"bytes_transferred": report.Bytes,
		"total_bytes":       report.Total,
		"throughput": map[string]any{
			"current_mbps": mbps, "average_mbps": mbps, "peak_mbps": mbps, "last_update": report.at.Format(time.RFC3339),
		},
		"timing": map[string]any{
			"start_time":  started.Format(time.RFC3339),
			"last_update": report.at.Format(time.RFC3339),
			"elapsed_ms":  report.at.Sub(started).Milliseconds(),
			"eta_seconds": 0,
		},
		"errors":     []any{},
		"last_error": nil,
	})
}
