package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/repositories"
)

// reloadable are the keys that a running daemon takes up. A backup that runs keeps all the others, and so does the daemon.
var reloadable = []string{"agent.log_level", "sna.accept_write_zeroes"}

// A reloader reads the configuration again at SIGHUP.
type reloader struct {
	path    string
	config  *config.Config // that the daemon works with, but for what was reloaded
	level   *slog.LevelVar
	zeroes  *atomic.Bool // sna.accept_write_zeroes
	log     *slog.Logger
	signals chan os.Signal
}

// newReloader takes SIGHUP, which would end the process otherwise, from now on.
func newReloader(path string, cfg *config.Config, level *slog.LevelVar, log *slog.Logger) *reloader {
	own := *cfg // the daemon's other parts read theirs at any time
	r := &reloader{path: path, config: &own, level: level, zeroes: new(atomic.Bool), log: log, signals: make(chan os.Signal, 1)}
	r.acceptZeroes(cfg.SNA.AcceptWriteZeroes)
	signal.Notify(r.signals, syscall.SIGHUP)
	return r
}

// run heeds SIGHUP until ctx ends; what came before waits for it.
func (r *reloader) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.signals:
			r.reload()
		}
	}
}

// reload takes up what may change while the daemon runs, and tells what may not. A file that is wrong changes nothing.
func (r *reloader) reload() {
	r.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	defer r.tell(daemon.SdNotifyReady) // also when nothing was taken up: systemctl reload waits for it
	after, err := config.Load(r.path)
	if err == nil {
		_, err = repositories.Apart(after)
	}
	if err != nil {
		for _, problem := range eachOf(err) {
			r.log.Error("the configuration is not reloaded, the old one stays", "error", problem)
		}
		return
	}
	changed, err := config.Changed(r.config, after)
	if err != nil {
		r.log.Error("the configuration is not reloaded, the old one stays", "error", err)
		return
	}
	restart := slices.DeleteFunc(slices.Clone(changed), func(key string) bool { return slices.Contains(reloadable, key) })
	r.level.Set(after.Agent.Level())
	r.config.Agent.LogLevel = after.Agent.LogLevel
	r.acceptZeroes(after.SNA.AcceptWriteZeroes)
	if len(restart) > 0 {
		r.log.Warn("these keys have changed and need a restart of the daemon, in which backups go on", "keys", restart)
	}
	r.log.Info("configuration reloaded", "log_level", after.Agent.LogLevel, "accept_write_zeroes", after.SNA.AcceptWriteZeroes)
}

// acceptZeroes is heeded by the exports that are made from now on; one that is served stays as it is.
func (r *reloader) acceptZeroes(accept bool) {
	r.zeroes.Store(accept)
	r.config.SNA.AcceptWriteZeroes = accept
	if accept {
		r.log.Warn(agent.WarnZeroes)
	}
}

func (r *reloader) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		r.log.Warn("systemd was not told of the reload", "error", err)
	}
}

func eachOf(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
