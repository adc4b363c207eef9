package snatest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest/client"
	"github.com/sendense/backup-agent/agent/sna/snatest/fault"
)

// startBody is the body of a start, with the fields that the SNA uses. Its decoder
// ignores others, such as nbd_host.
type startBody struct {
	JobID            string `json:"job_id"`
	VMName           string `json:"vm_name"`
	VMPath           string `json:"vm_path"`
	VCenterHost      string `json:"vcenter_host"`
	VCenterUser      string `json:"vcenter_user"`
	VCenterPassword  string `json:"vcenter_password"`
	NBDTargets       string `json:"nbd_targets"`
	BackupType       string `json:"backup_type"`
	PreviousChangeID string `json:"previous_change_id"`
}

// request returns the arguments of the client.
func (b startBody) request() client.Request {
	return client.Request{JobID: b.JobID, VMName: b.VMName, VMPath: b.VMPath, NBDTargets: b.NBDTargets}
}

// job is what the SNA remembers.
type job struct {
	id, vmPath string
	started    time.Time
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/backup/start", s.handleStart)
	mux.HandleFunc("GET /api/v1/health", s.handleHealth)
	mux.HandleFunc("GET /api/v1/status/{job}", s.handleStatus)
	mux.HandleFunc("GET /api/v1/progress/{job}", s.handleProgress)
	mux.HandleFunc("POST /api/v1/progress/{job}/update", s.handleProgressUpdate)
	mux.HandleFunc("POST /api/v1/discover", s.handleDiscover)
	s.controlRoutes(mux)
	return mux
}

// handleStart follows the SNA: decode, validate, fork, remember, answer.
func (s *Server) handleStart(w http.ResponseWriter, r *http.Request) {
	faults := s.currentFaults()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(w, fmt.Sprintf("Invalid request: %v", err), http.StatusBadRequest)
		return
	}
	post := s.notePost(body)
	waiting := r.Context() // ends when the caller disconnects, or with the SNA
	if faults.Late {
		waiting = s.ctx
	}
	select {
	case <-time.After(faults.Delay):
	case <-waiting.Done():
		panic(http.ErrAbortHandler)
	}
	if faults.Answer == fault.AnswerRefuse {
		post.answered(refuse(w, faults), 0)
		return
	}
	var request startBody
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&request); err != nil {
		post.answered(plain(w, http.StatusBadRequest, fmt.Sprintf("Invalid request: %v", err)), 0)
		return
	}
	if err := s.validate(request); err != nil {
		post.answered(plain(w, http.StatusBadRequest, fmt.Sprintf("Validation failed: %v", err)), 0)
		return
	}
	pid := 0
	if !faults.Inert {
		if pid, err = s.fork(request, faults); err != nil {
			post.answered(plain(w, http.StatusInternalServerError, fmt.Sprintf("Process start failed: %v", err)), pid)
			return
		}
	}
	s.answerStart(w, r, post, request, faults, pid)
}

// validate has the SNA's checks in the SNA's order and words. In the older
// contract the vCenter fields and the path do not exist.
func (s *Server) validate(request startBody) error {
	old := s.options.OldContract
	for _, field := range []struct {
		name, value string
		optional    bool
	}{
		{"job_id", request.JobID, false},
		{"vm_name", request.VMName, false},
		{"vcenter_host", request.VCenterHost, old},
		{"vcenter_user", request.VCenterUser, old},
		{"vcenter_password", request.VCenterPassword, old},
		{"vm_path", request.VMPath, old},
		{"nbd_targets", request.NBDTargets, false},
	} {
		if field.value == "" && !field.optional {
			return fmt.Errorf("%s is required", field.name)
		}
	}
	if request.BackupType != "full" && request.BackupType != "incremental" {
		return errors.New("backup_type must be 'full' or 'incremental'")
	}
	if request.BackupType == "incremental" && request.PreviousChangeID == "" && !old {
		return errors.New("previous_change_id is required for incremental backups")
	}
	return nil
}

func (s *Server) handleHealth(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]string{
		"status":    "healthy",
		"timestamp": time.Now().UTC().Format(time.RFC3339),
		"uptime":    time.Since(time.Now()).String(), // as the SNA has it: some nanoseconds
	})
}

// handleStatus always says "running": nobody tells the SNA how SBC ended.
func (s *Server) handleStatus(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("job")
	s.mu.Lock()
	job, known := s.jobs[id]
	s.mu.Unlock()
	if !known {
		plain(w, http.StatusNotFound, "Job not found: "+id)
		return
	}
	writeJSON(w, map[string]any{
		"job_id":            job.id,
		"status":            "running",
		"progress_percent":  0,
		"current_operation": "",
		"start_time":        job.started,
		"last_update":       job.started,
		"vm_path":           job.vmPath,
	})
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // fails only if the caller has disconnected
}

// plain answers as http.Error does and returns what it said.
func plain(w http.ResponseWriter, status int, text string) string {
	http.Error(w, text, status)
	return fmt.Sprintf("%d %s", status, text)
}
