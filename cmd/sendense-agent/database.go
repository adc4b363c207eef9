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
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
)

func databasePath(cfg *config.Config) string {
	return filepath.Join(cfg.Agent.StateDirectory, "agent.db")
}

// openDatabase opens the database. A damaged one is set aside, and the catalog is rebuilt from the manifests. A missing one is made the
// same way, which gives an empty one on a new machine.
func openDatabase(ctx context.Context, cfg *config.Config, log *slog.Logger) (*store.Store, error) {
	path := databasePath(cfg)
	opened := takeTime("opening the database") // a repair reads all of it, however large it is
	db, err := openWhole(path, cfg.SNA.Cooldown.Std())
	opened()
	logRecovery(log, path, db)
	damaged := errors.Is(err, store.ErrDamaged)
	if !damaged && !errors.Is(err, fs.ErrNotExist) {
		return db, withHint(err)
	}
	if damaged {
		log.Error("the database is damaged: it is set aside, and the catalog is rebuilt from the manifests", "error", err)
	}
	set, err := openRepositories(cfg)
	if err != nil {
		return nil, err
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	for _, r := range set.All { // one that hangs is a problem of the report
		go r.Watch(watching)
	}
	stop := takeTime("rebuilding the catalog from the manifests")
	report, aside, err := rebuild.Replace(storage.UntilStuck(ctx), path, set.All, cfg.SNA.Cooldown.Std(), set.CheckKeys)
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

// logReplaced logs what the new database holds, and what it lacks.
func logReplaced(log *slog.Logger, path, aside string, report *rebuild.Report) {
	for _, p := range report.Problems {
		log.Error("not in the catalog: remove the cause, stop the daemon, and run 'sendense-agent rebuild'",
			"path", p.Path, "error", p.Reason)
	}
	level := slog.LevelWarn
	if aside == "" && len(report.Imported)+len(report.Problems) == 0 {
		level = slog.LevelInfo
	}
	log.Log(context.Background(), level, "new database", "path", path, "set_aside", aside,
		"restore_points", len(report.Imported), "vms", len(report.VMs), "problems", len(report.Problems))
}

// wholeCheckBytes is the largest database that each start reads from beginning to end, which takes about a second. Of a larger one it
// reads only what it needs.
const wholeCheckBytes = 64 << 20

// withHint adds the hint to an error of the state directory.
func withHint(err error) error {
	if e := fault.From(err); e != nil && e.Reason == fault.StateUnwritable {
		return fmt.Errorf("%w: %s", err, e.Hint)
	}
	return err
}

// logRecovery logs that the database was opened with the other one of its two header pages.
func logRecovery(log *slog.Logger, path string, db *store.Store) {
	if db == nil || db.Recovery() == nil {
		return
	}
	r := db.Recovery()
	message := "one of the two header pages of the database was damaged and is repaired; nothing is lost"
	if r.LostChange {
		message = "one of the two header pages of the database was damaged: the other one is used, and the last change may be missing; " +
			"check the disk; every VM without a backup in progress cools down for sna.cooldown"
	}
	log.Error(message, "path", path, "set_aside", r.Aside)
}

// openWhole opens an existing database, and returns an error that wraps store.ErrDamaged when it is damaged.
func openWhole(path string, cooldown time.Duration) (*store.Store, error) {
	db, err := store.Open(path, store.Options{MustExist: true, Cooldown: cooldown})
	if err != nil || db.SizeBytes() > wholeCheckBytes {
		return db, err
	}
	err = db.Check(context.Background())
	var stray *store.StrayError
	if err != nil && !errors.As(err, &stray) { // the agent releases stray leases, and logs it
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// takeTime extends the start time-out of systemd until stop is called.
func takeTime(what string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for ctx.Err() == nil {
			_, _ = daemon.SdNotify(false, fmt.Sprintf("STATUS=%s\nEXTEND_TIMEOUT_USEC=%d", what, time.Minute.Microseconds())) // if it fails, the ordinary time-out holds
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
