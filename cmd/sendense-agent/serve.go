package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/failpoint"
	"github.com/sendense/backup-agent/agent/repositories"
	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/storage/process"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/cmd/sendense-agent/auditlog"
	"github.com/sendense/backup-agent/rpc/callbacks"
	"github.com/sendense/backup-agent/rpc/server"
	"github.com/sendense/backup-agent/units"
)

// closeTimeout bounds the stop of the daemon: backups that have not reached the SNA are undone within it. "systemctl stop" takes ten
// seconds at most, whatever hangs; the next start completes what is left.
const closeTimeout = 8 * time.Second

// serve runs the daemon until it is told to stop.
func serve(ctx context.Context, path string, cfg *config.Config) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log, level := newLogger(cfg.Agent)
	reloads := newReloader(path, cfg, level, log)
	metrics := newMonitoring(cfg.Metrics)
	parts, err := open(ctx, cfg, log, reloads, metrics.registerer())
	if err != nil {
		return err
	}
	defer parts.close(log)
	recorder, closeAudit, err := auditlog.Recorder(cfg, log, metrics.registerer())
	if err != nil {
		return err
	}
	defer func() {
		if err := closeAudit(); err != nil {
			log.Error("closing the audit log", "error", err)
		}
	}()
	parts.agent.Audit = recorder
	sockets, err := listen(cfg)
	if err != nil {
		return err
	}
	defer sockets.close()
	if err := metrics.listen(); err != nil {
		return err
	}
	defer metrics.close()
	if err := startApart(ctx, parts.agent.Repositories, log); err != nil {
		return err
	}
	if err := parts.agent.Open(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return closeAgent(ctx, parts.agent, log) })
	group.Go(func() error {
		options := server.Options{Agent: parts.agent, Logger: log, Version: version, DrainTimeout: closeTimeout, Observe: metrics.observe, Audit: recorder}
		return server.New(options).Serve(ctx, sockets.rpc)
	})
	if sockets.http != nil {
		group.Go(func() error {
			return serveHTTP(ctx, cfg, sockets.http, callbacks.Options{Agent: parts.agent, Logger: log, Audit: recorder})
		})
	}
	group.Go(func() error { return metrics.serve(ctx, parts.agent, log) })
	group.Go(func() error { return sockets.keep(ctx, log) })
	group.Go(func() error { return watchdog(ctx) })
	group.Go(func() error { return reloads.run(ctx) })
	if todo := outdated(path, cfg); todo != "" {
		log.Error(todo)
	}
	log.Info("ready", "version", version, "socket", cfg.Agent.Socket, "sna", cfg.SNA.URL)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("cannot tell systemd that the daemon is ready", "error", err)
	}
	return group.Wait()
}

// closeAgent closes the agent once ctx has ended, while the servers still send the answers of its last calls.
func closeAgent(ctx context.Context, a *agent.Agent, log *slog.Logger) error {
	<-ctx.Done()
	log.Info("stopping")
	if _, err := daemon.SdNotify(false, daemon.SdNotifyStopping); err != nil {
		log.Warn("cannot tell systemd that the daemon stops", "error", err)
	}
	closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := a.Close(closing); err != nil {
		return fmt.Errorf("stopped before everything had ended; the next start completes it: %w", err)
	}
	return nil
}

// parts are what the agent needs, in the order of their opening.
type parts struct {
	store *store.Store
	units *units.Manager
	agent *agent.Agent
}

func open(ctx context.Context, cfg *config.Config, log *slog.Logger, reloads *reloader, metrics prometheus.Registerer) (p *parts, err error) {
	p = &parts{}
	opened := p // a return of nil, err sets p
	defer func() {
		if err != nil {
			opened.close(log)
		}
	}()
	if p.store, err = openDatabase(ctx, cfg, log); err != nil {
		return nil, err
	}
	p.units, err = units.Open(ctx, units.Options{User: cfg.Agent.Bus == config.BusUser, Slice: cfg.Agent.Slice, Logger: log, Reached: failpoint.Reach})
	if err != nil {
		return nil, err
	}
	client, err := sna.New(sna.Options{
		URL:             cfg.SNA.URL,
		ConnectTimeout:  cfg.SNA.ConnectTimeout.Std(),
		StartTimeout:    cfg.SNA.StartTimeout.Std(),
		DiscoverTimeout: cfg.SNA.DiscoverTimeout.Std(),
	})
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p.agent, err = agent.New(agent.Options{
		Config: cfg, Store: p.store, Units: p.units, SNA: client, Logger: log, Version: version, Metrics: metrics,
		ConnectRepository: (&process.Connector{
			Units: p.units, Program: program, Runtime: filepath.Dir(cfg.Agent.Socket), State: cfg.Agent.StateDirectory,
		}).Connect,
		LogLevel: reloads.level, AcceptZeroes: reloads.zeroes,
	})
	return p, err
}

// startApart refuses to start when two repositories are one directory. A repository that is not mounted does not keep the daemon from
// starting: it is compared before it is used.
func startApart(ctx context.Context, all *repositories.Set, log *slog.Logger) error {
	away, err := all.Apart(ctx)
	for _, cause := range away {
		log.Warn("cannot be compared with the other repositories now; it is compared before it is used", "error", cause)
	}
	return err
}

func (p *parts) close(log *slog.Logger) {
	if p.units != nil {
		if err := p.units.Close(); err != nil {
			log.Error("closing the bus", "error", err)
		}
	}
	if p.store != nil {
		if err := p.store.Close(); err != nil {
			log.Error("closing the database", "error", err)
		}
	}
}

// serveHTTP answers SBC's callbacks until ctx ends.
func serveHTTP(ctx context.Context, cfg *config.Config, l net.Listener, o callbacks.Options) error {
	var err error
	if o.Token, err = readToken(cfg.HTTP.TokenFile); err != nil {
		return err
	}
	s := callbacks.NewServer(o)
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		stopped <- s.Shutdown(closing)
	})
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("http: %w", err)
	}
	return <-stopped
}

func readToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("http.token_file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("http.token_file %s is empty", path)
	}
	return token, nil
}

// watchdog tells systemd that the daemon is alive, as often as systemd asks for.
func watchdog(ctx context.Context) error {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return err
	}
	tick := time.NewTicker(every / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
				return fmt.Errorf("watchdog: %w", err)
			}
		}
	}
}
