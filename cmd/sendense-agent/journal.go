package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/sendense/backup-agent/agent/config"
)

// newLogger writes where the configuration says: to the journal with every attribute as a field of its own, so that
// journalctl -u sendense-agent BACKUP_ID=... finds a backup, or to standard error.
// The level may be changed at any time.
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
		return slog.New(&journalHandler{level: level}), level
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options)), level
}

// A journalHandler sends records to the journal by its native protocol.
type journalHandler struct {
	level  slog.Leveler
	prefix string // of the names of attributes, from groups
	fields []slog.Attr
}

// Enabled says whether the level is wanted.
func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// WithAttrs returns a handler that adds attributes to every record.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.fields = append(with.fields[:len(with.fields):len(with.fields)], prefixed(h.prefix, attrs)...)
	return &with
}

// WithGroup returns a handler that puts a name before those of the attributes to come.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	with := *h
	with.prefix += name + "_"
	return &with
}

// Handle sends one record. MESSAGE holds the attributes too, so that it says the same when only it is shown.
func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := append([]slog.Attr(nil), h.fields...)
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, prefixed(h.prefix, []slog.Attr{a})...)
		return true
	})
	fields := make(map[string]string, len(attrs))
	var message strings.Builder
	message.WriteString(r.Message)
	for _, a := range attrs {
		text := a.Value.Resolve().String()
		if text == "" || text == "[]" {
			continue
		}
		fmt.Fprintf(&message, " %s=%q", a.Key, text)
		if name := fieldName(a.Key); name != "" {
			fields[name] = text
		}
	}
	return journal.Send(message.String(), priority(r.Level), fields)
}

func prefixed(prefix string, attrs []slog.Attr) []slog.Attr {
	list := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		list[i] = slog.Attr{Key: prefix + a.Key, Value: a.Value}
	}
	return list
}

// fieldName makes the name of a journal field: capitals, digits and underscores, and no underscore first, which the
// journal keeps for itself.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	return strings.TrimLeft(name, "_0123456789")
}

func priority(level slog.Level) journal.Priority {
	switch {
	case level >= slog.LevelError:
		return journal.PriErr
	case level >= slog.LevelWarn:
		return journal.PriWarning
	case level >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
