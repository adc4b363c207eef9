// Package callbacks serves the HTTP routes that SBC (SendenseBackupClient) calls while it copies a VM. With a bearer token it
// also starts and shows backups over HTTP. It is not the agent's API, which is JSON-RPC: see package rpc.
//
//	GET  /api/v1/backups/changeid?vm_name=&disk_id=   since which change id to copy
//	POST /api/v1/backups/{job_id}/complete            a disk is complete
//	POST /api/v1/telemetry/backup/{job_id}            progress, a hint: never refused for its content
//	GET  /api/v1/health                               the agent runs
//	POST /api/v1/backups                              backup.start (token)
//	GET  /api/v1/backups/{backup_id}                  backup.get (token)
//
// SBC is another project: unknown fields that it sends are ignored. Every answer is a JSON object. An error is
// {"error", "reason", …} with the HTTP status of its reason.
package callbacks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/audit"
	"github.com/sendense/backup-agent/rpc"
	"github.com/sendense/backup-agent/rpc/internal/translate"
)

// DefaultMaxBody is the default of Options.MaxBody, in bytes.
const DefaultMaxBody = 1 << 20

// bodyTimeout limits how long a request may take to arrive. The time of the agent is not limited here: a start waits for the
// SNA, and SBC has no timeout of its own.
const bodyTimeout = 30 * time.Second

// Options configure the routes. Only Agent is required.
type Options struct {
	Agent   *agent.Agent
	Logger  *slog.Logger    // nil: slog.Default()
	MaxBody int64           // limit of a body in bytes; 0: 1 MiB
	Audit   *audit.Recorder // records the starts of backups; nil: nothing is recorded
	Token   string          // bearer token of the routes that start and show backups; "": those routes do not exist
}

// NewServer returns an HTTP server of the routes, with timeouts. The caller serves on it and shuts it down.
func NewServer(opt Options) *http.Server {
	handler := newRoutes(opt)
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       bodyTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(handler.log.Handler(), slog.LevelWarn),
	}
}

// Handler returns the routes.
func Handler(opt Options) http.Handler { return newRoutes(opt) }

func newRoutes(opt Options) *routes {
	r := &routes{agent: opt.Agent, audit: opt.Audit, log: opt.Logger, maxBody: opt.MaxBody, mux: http.NewServeMux()}
	if r.log == nil {
		r.log = slog.Default()
	}
	if r.maxBody <= 0 {
		r.maxBody = DefaultMaxBody
	}
	r.handle("GET /api/v1/health", r.health)
	r.handle("GET /api/v1/backups/changeid", r.changeID)
	r.handle("POST /api/v1/backups/{job_id}/complete", r.complete)
	r.handle("POST /api/v1/telemetry/backup/{job_id}", r.telemetry)
	if opt.Token != "" {
		guard := bearer(opt.Token)
		r.handle("POST /api/v1/backups", guard(r.startBackup))
		r.handle("GET /api/v1/backups/{backup_id}", guard(r.getBackup))
	}
	return r
}

type routes struct {
	agent   *agent.Agent
	audit   *audit.Recorder
	log     *slog.Logger
	maxBody int64
	mux     *http.ServeMux
}

// A route answers a request with a value or an error. Its context does not end when the caller hangs up.
type route func(ctx context.Context, req *http.Request, body []byte) (any, error)

func (r *routes) handle(pattern string, f route) {
	r.mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) {
		answer, err := r.run(pattern, w, req, f)
		if err != nil {
			r.fail(w, req, err)
			return
		}
		writeJSON(w, http.StatusOK, answer)
	})
}

func (r *routes) run(pattern string, w http.ResponseWriter, req *http.Request, f route) (answer any, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("http route panicked", "route", pattern, "panic", p, "stack", string(debug.Stack()))
			answer, err = nil, rpc.NewError(rpc.ReasonInternal, "internal fault")
		}
	}()
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, r.maxBody))
	if err != nil {
		return nil, bodyError(err)
	}
	return f(context.WithoutCancel(req.Context()), req, body)
}

func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return rpc.NewError(rpc.ReasonMessageTooLarge, fmt.Sprintf("body: larger than %d bytes", tooLarge.Limit))
	}
	return rpc.NewError(rpc.ReasonInvalidRequest, "body: "+err.Error())
}

// ServeHTTP answers a request. A request that no route matches is answered here, so that this answer is JSON too.
func (r *routes) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	handler, pattern := r.mux.Handler(req)
	if pattern != "" {
		r.mux.ServeHTTP(w, req)
		return
	}
	var verdict verdict
	handler.ServeHTTP(&verdict, req)
	if verdict.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", verdict.Header().Get("Allow"))
	}
	writeJSON(w, verdict.status, errorBody{
		Error:     fmt.Sprintf("%s %s: %s", req.Method, req.URL.Path, http.StatusText(verdict.status)),
		ErrorData: rpc.ErrorData{Reason: rpc.ReasonMethodNotFound, HTTPStatus: verdict.status},
	})
}

// A verdict keeps the status and the header of an answer, and drops its body.
type verdict struct {
	status int
	header http.Header
}

func (v *verdict) Header() http.Header {
	if v.header == nil {
		v.header = http.Header{}
	}
	return v.header
}
func (v *verdict) WriteHeader(status int)      { v.status = status }
func (v *verdict) Write(p []byte) (int, error) { return len(p), nil }

// errorBody is the JSON of every error.
type errorBody struct {
	Error string `json:"error"`
	rpc.ErrorData
}

func (r *routes) fail(w http.ResponseWriter, req *http.Request, err error) {
	wire := translate.Error(err)
	level := slog.LevelInfo
	if wire.Data.Reason == rpc.ReasonInternal {
		level = slog.LevelError
	}
	r.log.Log(req.Context(), level, "http request failed", "method", req.Method, "path", req.URL.Path,
		"reason", string(wire.Data.Reason), "error", wire.Message)
	if wire.Data.Reason == rpc.ReasonUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, wire.Data.HTTPStatus, errorBody{Error: wire.Message, ErrorData: wire.Data})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(v) //nolint:errcheck // the caller has hung up
}
