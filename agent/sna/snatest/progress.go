package snatest

import (
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest/client"
)

// progressReport is the SNA's summary of the updates of a job. An update does not change
// what it leaves out, or has as 0.
type progressReport struct {
	client.Progress
	started time.Time // the first update
}

func (s *Server) reportProgress(jobID string, update client.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	report, known := s.progress[jobID]
	if !known { // the SNA learns of the job from SBC's first report
		report = progressReport{client.Progress{Stage: "Discover", Status: "Queued"}, time.Now()}
	}
	setString(&report.Stage, update.Stage)
	setString(&report.Status, update.Status)
	switch update.SyncType {
	case "full", "initial":
		report.SyncType = "full"
	case "incremental":
		report.SyncType = "incremental"
	}
	if update.BytesTransferred > 0 {
		report.BytesTransferred = update.BytesTransferred
	}
	if update.TotalBytes > 0 {
		report.TotalBytes = update.TotalBytes
	}
	report.ThroughputBPS = update.ThroughputBPS
	if update.Percent > 0 {
		report.Percent = update.Percent
	} else if report.TotalBytes > 0 {
		report.Percent = float64(report.BytesTransferred) / float64(report.TotalBytes) * 100
	}
	s.progress[jobID] = report
	s.notify()
}

func setString(field *string, value string) {
	if value != "" {
		*field = value
	}
}

// handleProgressUpdate receives reports of the real SBC.
func (s *Server) handleProgressUpdate(w http.ResponseWriter, r *http.Request) {
	var update client.Progress
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&update); err != nil {
		plain(w, http.StatusBadRequest, "invalid request body: "+err.Error())
		return
	}
	s.reportProgress(r.PathValue("job"), update)
	writeJSON(w, map[string]string{"status": "success", "job_id": r.PathValue("job")})
}

// handleProgress answers 404 until SBC's first report. The time of the last update is
// that of the request.
func (s *Server) handleProgress(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("job")
	s.mu.Lock()
	report, known := s.progress[id]
	s.mu.Unlock()
	if !known {
		plain(w, http.StatusNotFound, "job not found")
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	writeJSON(w, report.shown(id, time.Now()))
}

func (p progressReport) shown(id string, now time.Time) map[string]any {
	mbps := float64(p.ThroughputBPS) / (1 << 20)
	started, elapsed := p.started.Format(time.RFC3339), now.Sub(p.started).Milliseconds()
	operation, eta := p.Stage, 0
	if p.Stage == "Transfer" {
		operation = "Transferring Data"
	}
	if left := p.TotalBytes - p.BytesTransferred; p.Percent > 0 && p.ThroughputBPS > 0 && left > 0 {
		eta = int(min(float64(left)/float64(p.ThroughputBPS), 86400))
	}
	return map[string]any{
		"job_id":            id,
		"status":            p.Status,
		"sync_type":         p.SyncType,
		"phase":             p.Stage,
		"percentage":        p.Percent,
		"current_operation": operation,
		"bytes_transferred": p.BytesTransferred,
		"total_bytes":       p.TotalBytes,
		"throughput": map[string]any{
			"current_mbps": mbps, "average_mbps": mbps, "peak_mbps": mbps, "last_update": now.Format(time.RFC3339),
		},
		"timing": map[string]any{
			"start_time": started, "last_update": now.Format(time.RFC3339), "elapsed_ms": elapsed,
			"phase_start": started, "phase_elapsed_ms": elapsed, "eta_seconds": eta,
		},
		"vm_info": map[string]any{
			"name": "unknown", "path": "unknown", "disk_size_gb": p.TotalBytes >> 30, "disk_size_bytes": p.TotalBytes,
			"cbt_enabled": p.SyncType != "",
		},
		"phases": []map[string]any{{
			"name": p.Stage, "status": p.Status, "start_time": started, "end_time": "", "duration_ms": elapsed,
		}},
		"errors":     []any{},
		"last_error": nil,
	}
}
