package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/store"
)

func databasePath(cfg *config.Config) string {
	return filepath.Join(cfg.Agent.StateDirectory, "agent.db")
}

// openDatabase opens the database. One that is damaged is set aside, and the catalog is made again from the manifests; one
// that is not there is made the same way, which on a new machine gives an empty one.
func openDatabase(cfg *config.Config, log *slog.Logger) (*store.Store, error) {
	path := databasePath(cfg)
	opened := takeTime("opening the database") // one that has to be mended is read from beginning to end, however large
	db, err := openWhole(path, cfg.SNA.Cooldown.Std())
	opened()
	logRecovery(log, path, db)
	damaged := errors.Is(err, store.ErrDamaged)
	if !damaged && !errors.Is(err, fs.ErrNotExist) {
		return db, withHint(err)
	}
	if damaged {
		log.Error("the database is damaged: it is set aside, and the catalog is made again from the manifests", "error", err)
	}
	repositories, err := openRepositories(cfg)
	if err != nil {
		return nil, err
	}
	stop := takeTime("making the catalog again from the manifests")
	report, aside, err := rebuild.Replace(path, repositories, cfg.SNA.Cooldown.Std())
	stop()
	if errors.Is(err, fs.ErrExist) { // another process was faster
		return openWhole(path, cfg.SNA.Cooldown.Std())
	}
	if err != nil {
		return nil, withHint(err)
	}
	logReplaced(log, path, aside, report)
	return openWhole(path, cfg.SNA.Cooldown.Std())
}

// logReplaced says what the new database holds, and what it lacks.
func logReplaced(log *slog.Logger, path, aside string, report *rebuild.Report) {
	for _, p := range report.Problems {
		log.Error("what lies there is not in the catalog: when the cause is gone, stop the daemon and run 'sendense-agent rebuild'",
			"path", p.Path, "error", p.Reason)
	}
	level := slog.LevelWarn
	if aside == "" && len(report.Imported)+len(report.Problems) == 0 {
		level = slog.LevelInfo
	}
	log.Log(context.Background(), level, "new database", "path", path, "set_aside", aside,
		"restore_points", len(report.Imported), "vms", len(report.VMs), "problems", len(report.Problems))
}

// wholeCheckBytes bounds the size of a database that is read from beginning to end at each start, which takes about a second
// for so many bytes. Of a larger one only what a start needs is read.
const wholeCheckBytes = 64 << 20

// withHint adds to an error what to do about it, when it is one about the state directory.
func withHint(err error) error {
	if e := fault.From(err); e != nil && e.Reason == fault.StateUnwritable {
		return fmt.Errorf("%w: %s", err, e.Hint)
	}
	return err
}

// logRecovery tells of a database that was opened by the second of its header pages.
func logRecovery(log *slog.Logger, path string, db *store.Store) {
	if db == nil || db.Recovery() == nil {
		return
	}
	r := db.Recovery()
	message := "one header page of the database had a blemish and is mended; nothing is lost"
	if r.LostChange {
		message = "one of the two header pages of the database was damaged: it is opened by the other one, and the last change may be missing; " +
			"look at the disk; every VM without a backup under way rests for sna.cooldown"
	}
	log.Error(message, "path", path, "set_aside", r.Aside)
}

// openWhole opens a database that exists, and returns an error that wraps store.ErrDamaged when it is not sound.
func openWhole(path string, cooldown time.Duration) (*store.Store, error) {
	db, err := store.Open(path, store.Options{MustExist: true, Cooldown: cooldown})
	if err != nil || db.SizeBytes() > wholeCheckBytes {
		return db, err
	}
	err = db.Check(context.Background())
	var stray *store.StrayError
	if err != nil && !errors.As(err, &stray) { // the agent gives stray leases back, and tells of it
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// takeTime has systemd wait for something that may take long, until stop is called.
func takeTime(what string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for ctx.Err() == nil {
			_, _ = daemon.SdNotify(false, fmt.Sprintf("STATUS=%s\nEXTEND_TIMEOUT_USEC=%d", what, time.Minute.Microseconds())) // without it systemd waits as long as it always does
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
			}
		}
	}()
	return func() {
		cancel()
		_, _ = daemon.SdNotify(false, "STATUS=")
	}
}
