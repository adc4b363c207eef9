package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/net/netutil"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/rpc"
)

// monitoring is what Prometheus sees of the daemon: the metrics of docs/metrics.md, /healthz and /readyz. A nil one, of a
// daemon whose metrics are switched off, takes everything and shows nothing.
type monitoring struct {
	config   config.Metrics
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	listener net.Listener
}

// newMonitoring makes the metrics of the process and of its RPC; the agent registers its own. It does not listen yet.
func newMonitoring(cfg config.Metrics) *monitoring {
	if !cfg.Enabled {
		return nil
	}
	m := &monitoring{
		config:   cfg,
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sendense_agent_rpc_requests_total",
			Help: "RPC requests by method (unknown: there is no such method) and JSON-RPC code (0: it succeeded).",
		}, []string{"method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sendense_agent_rpc_request_duration_seconds",
			Help:    "Time from the request of an RPC method to its answer.",
			Buckets: []float64{.0005, .001, .005, .01, .05, .1, .5, 1, 5, 10, 30, 60, 120},
		}, []string{"method"}),
	}
	m.registry.MustRegister(
		m.requests, m.duration,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// registerer is where others register; nil when metrics are off.
func (m *monitoring) registerer() prometheus.Registerer {
	if m == nil {
		return nil
	}
	return m.registry
}

// observe counts one RPC request. The server names the methods that it has and no others, so labels stay few.
func (m *monitoring) observe(method string, code rpc.Code, took time.Duration) {
	if m == nil {
		return
	}
	if method == "" {
		method = "unknown"
	}
	m.requests.WithLabelValues(method, strconv.Itoa(int(code))).Inc()
	m.duration.WithLabelValues(method).Observe(took.Seconds())
}

// listen takes the port, and looks that the file with TLS and authentication can be used.
func (m *monitoring) listen() error {
	if m == nil {
		return nil
	}
	if err := web.Validate(m.config.WebConfigFile); err != nil {
		return fmt.Errorf("metrics.web_config_file: %w", err)
	}
	var err error
	if m.listener, err = net.Listen("tcp", m.config.Listen); err != nil {
		return fmt.Errorf("metrics.listen: %w: choose another address, or set metrics.enabled to false", err)
	}
	m.listener = netutil.LimitListener(m.listener, maxTCPConnections)
	return nil
}

func (m *monitoring) close() {
	if m != nil && m.listener != nil {
		_ = m.listener.Close() // the server has closed it already, or it was never used
	}
}

// metricsGrace is how long a scrape that is under way may still take when the daemon stops.
const metricsGrace = 5 * time.Second

// serve answers until ctx ends.
func (m *monitoring) serve(ctx context.Context, a *agent.Agent, log *slog.Logger) error {
	if m == nil {
		return nil
	}
	s := &http.Server{
		Handler:           m.handler(a, log),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what clients do wrong
	}
	stopped := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(stopped)
		closing, cancel := context.WithTimeout(context.Background(), metricsGrace)
		defer cancel()
		if s.Shutdown(closing) != nil {
			_ = s.Close() // a client that does not take its answer holds up nothing
		}
	})
	if err := web.Serve(m.listener, s, &web.FlagConfig{WebConfigFile: &m.config.WebConfigFile}, log); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	<-stopped
	return nil
}

// maxScrapes bounds how many scrapes are answered at the same time.
const maxScrapes = 8

func (m *monitoring) handler(a *agent.Agent, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError, // one metric that is wrong hides no other
		MaxRequestsInFlight: maxScrapes,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "alive")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := a.Ready(r.Context()); err != nil {
			text := "not ready: " + err.Error()
			if hint := fault.From(err).Hint; hint != "" {
				text += "\n" + hint
			}
			http.Error(w, text, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	return mux
}
