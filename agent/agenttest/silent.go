package agenttest

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// FailsWith waits for the end of a backup that fails with a reason, and returns it. The failure or its hint must contain all words.
func (w *World) FailsWith(id string, reason fault.Reason, words ...string) record.Backup {
	w.Helper()
	b := w.Wait(id)
	if b.State != record.Failed || b.Failure.Reason != string(reason) {
		w.Fatalf("backup is %s, %+v", b.State, b.Failure)
	}
	for _, word := range words {
		if !strings.Contains(b.Failure.Message+"\n"+b.Failure.Hint, word) {
			w.Errorf("%q is not in: %s\n%s", word, b.Failure.Message, b.Failure.Hint)
		}
	}
	w.Clean()
	return b
}

// WithoutProgress puts a proxy before the SNA and restarts the agent. The proxy answers requests for the progress of a job with answer.
func (w *World) WithoutProgress(answer http.HandlerFunc) {
	target, err := url.Parse(w.SNA.URL)
	Must(w.TB, err)
	pass := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v1/progress/") {
			answer(rw, r)
			return
		}
		pass.ServeHTTP(rw, r)
	}))
	w.Cleanup(proxy.Close)
	w.Stop()
	w.Config.SNA.URL = proxy.URL
	w.Start()
}
