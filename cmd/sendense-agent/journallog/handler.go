// Package journallog is a slog handler that sends records to the systemd journal by its native protocol.
//
// Every attribute is a field of its own, so that journalctl -u sendense-agent BACKUP_ID=... finds a backup. MESSAGE holds the
// attributes too, so that a line says the same when only MESSAGE is shown. A journal that does not answer does not stop the caller.
// The package does not decide when to log to the journal: the daemon does.
package journallog

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// A Handler sends records to the journal.
type Handler struct {
	level  slog.Leveler
	prefix string // of the names of attributes, from groups
	fields []slog.Attr
	out    *sender
}

// New makes a handler for records of a level or above, which may be changed at any time. It is used until the process ends.
func New(level slog.Leveler) *Handler { return &Handler{level: level, out: newSender()} }

// Enabled says whether a record of the level is sent.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// WithAttrs returns a handler that adds attributes to every record.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.fields = append(with.fields[:len(with.fields):len(with.fields)], prefixed(h.prefix, attrs)...)
	return &with
}

// WithGroup returns a handler that puts a name before those of the attributes to come.
func (h *Handler) WithGroup(name string) slog.Handler {
	with := *h
	with.prefix += name + "_"
	return &with
}

// Handle sends one record. An attribute whose value is empty is left out. If the journal does not answer, the record waits in a queue, and
// is dropped if the queue is full.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
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
	return h.out.send(line{message: message.String(), priority: priority(r.Level), fields: fields})
}

func prefixed(prefix string, attrs []slog.Attr) []slog.Attr {
	list := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		list[i] = slog.Attr{Key: prefix + a.Key, Value: a.Value}
	}
	return list
}

// fieldName makes the name of a journal field: capitals, digits and underscores. A name that begins with an underscore is the journal's
// own, so none does.
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
