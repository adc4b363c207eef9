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

// reloadable are the keys that a running daemon rereads. All others need a restart.
var reloadable = []string{"agent.log_level", "sna.accept_write_zeroes"}

// A reloader reads the configuration again at SIGHUP.
type reloader struct {
	path    string
	config  *config.Config // as it was at the start, with what was reloaded
	level   *slog.LevelVar
	zeroes  *atomic.Bool // sna.accept_write_zeroes
	log     *slog.Logger
	signals chan os.Signal
}

// newReloader handles SIGHUP from now on, which otherwise ends the process.
func newReloader(path string, cfg *config.Config, level *slog.LevelVar, log *slog.Logger) *reloader {
	own := *cfg // other parts of the daemon read cfg at any time
	r := &reloader{path: path, config: &own, level: level, zeroes: new(atomic.Bool), log: log, signals: make(chan os.Signal, 1)}
	r.acceptZeroes(cfg.SNA.AcceptWriteZeroes)
	signal.Notify(r.signals, syscall.SIGHUP)
	return r
}

// run reloads at each SIGHUP until ctx ends; one that came before is not lost.
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

// reload applies the reloadable keys and logs the changed keys that need a restart. An invalid file changes nothing.
func (r *reloader) reload() {
	r.tell(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	defer r.tell(daemon.SdNotifyReady) // also when nothing was reloaded: systemctl reload waits for it
	after, err := config.Load(r.path)
	if err == nil && !slices.EqualFunc(r.config.Repositories, after.Repositories, samePlace) { // others are not touched: one may hang
		_, err = repositories.Apart(after)
	}
	if err != nil {
		for _, problem := range eachOf(err) {
			r.log.Error("the configuration is not reloaded: the previous one stays in use", "error", problem)
		}
		return
	}
	changed, err := config.Changed(r.config, after)
	if err != nil {
		r.log.Error("the configuration is not reloaded: the previous one stays in use", "error", err)
		return
	}
	restart := slices.DeleteFunc(slices.Clone(changed), func(key string) bool { return slices.Contains(reloadable, key) })
	r.level.Set(after.Agent.Level())
	r.config.Agent.LogLevel = after.Agent.LogLevel
	r.acceptZeroes(after.SNA.AcceptWriteZeroes)
	if len(restart) > 0 {
		r.log.Warn("these changed keys need a restart of the daemon; backups continue during a restart", "keys", restart)
	}
	r.log.Info("configuration reloaded", "log_level", after.Agent.LogLevel, "accept_write_zeroes", after.SNA.AcceptWriteZeroes)
}

// acceptZeroes holds for exports that start from now on; a running export stays as it is.
func (r *reloader) acceptZeroes(accept bool) {
	r.zeroes.Store(accept)
	r.config.SNA.AcceptWriteZeroes = accept
	if accept {
		r.log.Warn(agent.WarnZeroes)
	}
}

func (r *reloader) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		r.log.Warn("cannot tell systemd of the reload", "error", err)
	}
}

func eachOf(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

func samePlace(a, b config.Repository) bool { return a.ID == b.ID && a.Path == b.Path }
