package snatest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// hub is the SHA's side of the callbacks.
type hub struct {
	URL string

	mu          sync.Mutex
	changeIDs   map[string]string                            // answers, by disk id
	status      int                                          // of the answer to a complete; 200 when 0
	onDone      func(diskID int)                             // called before a complete is answered
	answer      func(question int) (status int, body string) // to changeid, in the place of changeIDs
	questions   int
	onTelemetry func()
	eta         int
	events      []string
	complete    map[int]string // change ids, by disk id
}

func newHub(t *testing.T) *hub {
	h := &hub{changeIDs: map[string]string{}, complete: map[int]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/backups/changeid", h.changeID)
	mux.HandleFunc("POST /api/v1/backups/{job}/complete", h.completed)
	mux.HandleFunc("POST /api/v1/telemetry/backup/{job}", h.telemetry)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	h.URL = server.URL
	return h
}

func (h *hub) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, fmt.Sprintf(format, args...))
}

func (h *hub) changeID(w http.ResponseWriter, r *http.Request) {
	h.note("changeid %s %s", r.FormValue("vm_name"), r.FormValue("disk_id"))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.questions++; h.answer != nil {
		status, body := h.answer(h.questions)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"disk_id": r.FormValue("disk_id"), "change_id": h.changeIDs[r.FormValue("disk_id")]})
}

func (h *hub) completed(w http.ResponseWriter, r *http.Request) {
	var body struct {
		ChangeID string `json:"change_id"`
		DiskID   *int   `json:"disk_id"`
		Bytes    *int64 `json:"bytes_transferred"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.DiskID == nil || body.Bytes == nil || *body.Bytes != 0 {
		http.Error(w, "wrong body", http.StatusBadRequest)
		return
	}
	if h.onDone != nil {
		h.onDone(*body.DiskID)
	}
	h.note("complete %s %d", r.PathValue("job"), *body.DiskID)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.complete[*body.DiskID] = body.ChangeID
	if h.status != 0 {
		w.WriteHeader(h.status)
	}
}

func (h *hub) telemetry(_ http.ResponseWriter, r *http.Request) {
	var body struct {
		Status  string  `json:"status"`
		Phase   string  `json:"current_phase"`
		Bytes   int64   `json:"bytes_transferred"`
		Total   int64   `json:"total_bytes"`
		Percent float64 `json:"progress_percent"`
		ETA     int     `json:"eta_seconds"`
		Disks   *[]any  `json:"disks"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Disks == nil {
		h.note("telemetry unreadable %v", err)
		return
	}
	h.mu.Lock()
	h.eta = body.ETA
	h.mu.Unlock()
	h.note("telemetry %s %s %d %d %g", body.Status, body.Phase, body.Bytes, body.Total, body.Percent)
	if h.onTelemetry != nil {
		h.onTelemetry()
	}
}

func (h *hub) lastETA() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.eta
}

func (h *hub) seen() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// calls are the questions and reports, without telemetry.
func (h *hub) calls() []string {
	return slices.DeleteFunc(h.seen(), func(event string) bool { return strings.HasPrefix(event, "telemetry") })
}
