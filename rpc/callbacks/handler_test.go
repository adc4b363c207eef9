package callbacks

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sendense/backup-agent/agent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, opt Options) *httptest.Server {
	t.Helper()
	opt.Logger = slog.New(slog.DiscardHandler)
	if opt.Agent == nil {
		opt.Agent = &agent.Agent{}
	}
	s := httptest.NewServer(Handler(opt))
	t.Cleanup(s.Close)
	return s
}

func TestRefusals(t *testing.T) {
	s := serve(t, Options{Token: "secret", MaxBody: 1000})
	const started = "/api/v1/backups"
	for _, tt := range []struct {
		name, method, path, body, token string
		status                          int
		reason                          string
	}{
		{"change id without name", "GET", "/api/v1/backups/changeid?disk_id=0", "", "", 400, "invalid_request"},
		{"change id without disk", "GET", "/api/v1/backups/changeid?vm_name=a", "", "", 400, "invalid_request"},
		{"change id of no disk", "GET", "/api/v1/backups/changeid?vm_name=a&disk_id=-1", "", "", 400, "invalid_request"},
		{"change id by POST", "POST", "/api/v1/backups/changeid", "", "", 405, "method_not_found"},
		{"complete by GET", "GET", "/api/v1/backups/b/complete", "", "", 405, "method_not_found"},
		{"complete without body", "POST", "/api/v1/backups/b/complete", "", "", 400, "invalid_request"},
		{"complete without disk", "POST", "/api/v1/backups/b/complete", `{"change_id":"c"}`, "", 400, "invalid_request"},
		{"complete with text for a disk", "POST", "/api/v1/backups/b/complete", `{"disk_id":"zero"}`, "", 400, "invalid_request"},
		{"complete with too much", "POST", "/api/v1/backups/b/complete", `{"change_id":"` + strings.Repeat("x", 1000) + `"}`, "", 413, "message_too_large"},
		{"telemetry that is none", "POST", "/api/v1/telemetry/backup/b", `x`, "", 400, "invalid_request"},
		{"elsewhere", "GET", "/api/v2/x", "", "", 404, "method_not_found"},
		{"start without token", "POST", started, `{"vm_name":"a"}`, "", 401, "unauthorized"},
		{"start with a wrong token", "POST", started, `{"vm_name":"a"}`, "Bearer secre", 401, "unauthorized"},
		{"start with another scheme", "POST", started, `{"vm_name":"a"}`, "Basic secret", 401, "unauthorized"},
		{"show without token", "GET", started + "/b", ``, "", 401, "unauthorized"},
		{"start that is no JSON", "POST", started, `garbage`, "Bearer secret", 400, "invalid_request"},
		{"start of nothing", "POST", started, ``, "Bearer secret", 400, "invalid_request"},
		{"start of a list", "POST", started, `[]`, "Bearer secret", 400, "invalid_request"},
		{"start without a name", "POST", started, `{}`, "Bearer secret", 400, "invalid_request"},
		{"start of one disk", "POST", started, `{"vm_name":"a","disk_id":1}`, "bearer secret", 400, "disk_id_not_allowed"},
		{"start with an unknown field", "POST", started, `{"vm_name":"a","vmname":1}`, "Bearer secret", 400, "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, s.URL+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.token != "" {
				req.Header.Set("Authorization", tt.token)
			}
			status, body := do(t, req)
			if status != tt.status || body["reason"] != tt.reason || body["error"] == "" {
				t.Errorf("got %d %v, want %d %s", status, body, tt.status, tt.reason)
			}
		})
	}
}

func TestWithoutTokenThereIsNoStart(t *testing.T) {
	s := serve(t, Options{})
	for _, method := range []string{"POST", "GET"} {
		req, _ := http.NewRequestWithContext(t.Context(), method, s.URL+"/api/v1/backups", strings.NewReader(`{"vm_name":"a"}`))
		req.Header.Set("Authorization", "Bearer ")
		if status, body := do(t, req); status != http.StatusNotFound {
			t.Errorf("%s: %d %v", method, status, body)
		}
	}
}

func TestHealth(t *testing.T) {
	s := serve(t, Options{})
	req, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/api/v1/health", nil)
	if status, body := do(t, req); status != http.StatusOK {
		t.Errorf("health: %d %v", status, body)
	}
}

func TestPanicsAreAnswered(t *testing.T) {
	r := newRoutes(Options{Logger: slog.New(slog.DiscardHandler)})
	r.handle("GET /boom", func(context.Context, *http.Request, []byte) (any, error) { panic("boom") })
	r.handle("GET /fail", func(context.Context, *http.Request, []byte) (any, error) { return nil, errors.New("on fire") })
	for _, path := range []string{"/boom", "/fail"} {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 500 || !strings.Contains(w.Body.String(), `"reason":"internal"`) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// TestChangeIDAnswerIsAllStrings: SBC decodes the answer into a map of strings.
func TestChangeIDAnswerIsAllStrings(t *testing.T) {
	text, err := json.Marshal(changeIDAnswer{DiskID: "0"})
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]string
	if err := json.Unmarshal(text, &m); err != nil || len(m) != 5 {
		t.Errorf("%s: %v", text, err)
	}
}

func do(t *testing.T, req *http.Request) (int, map[string]any) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]any
	if err := json.Unmarshal(text, &body); err != nil || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("not JSON: %q, %v", text, err)
	}
	return resp.StatusCode, body
}
