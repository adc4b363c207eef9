package callbacks

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// TestTelemetryIsNeverRefused: an agent without a backup takes any telemetry, because a hint must not fail a backup.
func TestTelemetryIsNeverRefused(t *testing.T) {
	db, err := store.Open(filepath.Join(t.TempDir(), "agent.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(db.Check(context.Background()), db.Close()); err != nil {
			t.Error(err)
		}
	}()
	cfg := config.Default()
	cfg.Agent.ExporterUser, cfg.Agent.ExporterGroup = "", ""
	a, err := agent.New(agent.Options{Config: cfg, Store: db, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, Options{Agent: a})
	for body, want := range map[string]int{
		sentBySBC: http.StatusOK, `{}`: http.StatusOK, " \n{}": http.StatusOK,
		`{"bytes_transferred":"many","status":7}`: http.StatusOK,
		`{"bytes_transferred":1e300}`:             http.StatusOK,
		``:                                        http.StatusBadRequest,
		`[]`:                                      http.StatusBadRequest,
		`{"status":`:                              http.StatusBadRequest,
	} {
		for _, job := range []string{"backup-a-1", "x", "%2e%2e"} {
			req, _ := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/api/v1/telemetry/backup/"+job, strings.NewReader(body))
			if status, answer := do(t, req); status != want {
				t.Errorf("%s %s: %d %v, want %d", job, body, status, answer, want)
			}
		}
	}
}

// sentBySBC is what SBC sends at the end of each disk.
const sentBySBC = `{"job_id":"b","job_type":"backup","status":"completed","current_phase":"x","bytes_transferred":1,"total_bytes":2,
	"transfer_speed_bps":5,"eta_seconds":0,"progress_percent":100.7,"disks":[],"timestamp":"2026-01-02T03:04:05Z","new":{}}`

func TestTelemetryIsRead(t *testing.T) {
	now := time.Now()
	var said report
	if err := json.Unmarshal([]byte(sentBySBC), &said); err != nil {
		t.Fatal(err)
	}
	want := record.Telemetry{
		At: now, Status: "completed", Phase: "x", BytesTransferred: 1, TotalBytes: 2, BytesPerSecond: 5, Percent: 100.7,
	}
	if diff := cmp.Diff(want, said.domain(now)); diff != "" {
		t.Error(diff)
	}
	for given, want := range map[string]string{`null`: "", `"x"`: "x", `{"message":"y"}`: "map[message:y]"} {
		var said report
		if err := json.Unmarshal([]byte(`{"error":`+given+`}`), &said); err != nil || said.domain(now).Error != want {
			t.Errorf("%s: %q, %v", given, said.domain(now).Error, err)
		}
	}
}
