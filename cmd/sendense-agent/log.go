package main

import (
	"log/slog"
	"os"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/cmd/sendense-agent/journallog"
)

// newLogger makes a logger that writes where the configuration says: to the journal or to standard error. Its level may be changed at
// any time.
func newLogger(cfg config.Agent) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(cfg.Level())
	options := &slog.HandlerOptions{Level: level}
	format := cfg.LogFormat
	if format == "auto" {
		format = "text"
		if toJournal, err := journal.StderrIsJournalStream(); err == nil && toJournal {
			format = "journal"
		}
	}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), level
	case "journal":
		return slog.New(journallog.New(level)), level
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options)), level
}
