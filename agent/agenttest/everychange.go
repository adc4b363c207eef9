package agenttest

import (
	"sync"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// A listener keeps what the last event of each backup and restore told, and which ports the earlier ones told of.
type listener struct {
	mu       sync.Mutex
	backups  map[string]record.Backup
	restores map[string]record.Restore
	Ports    map[string]map[uint16]bool // by id, while exports are made
}

func (w *World) Listen() *listener {
	w.Helper()
	l := &listener{backups: map[string]record.Backup{}, restores: map[string]record.Restore{}, Ports: map[string]map[uint16]bool{}}
	for _, q := range []events.Query{{}, {Restores: true}} {
		stream, err := w.Agent.Watch(w.Context(), q)
		Must(w.TB, err)
		go func() {
			for e := range stream {
				l.hear(e)
			}
		}()
	}
	return l
}

func (l *listener) hear(e events.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case e.Kind != events.State:
	case e.Restore != nil:
		l.restores[e.Restore.ID] = *e.Restore
		if e.Restore.State == record.RestoreExporting {
			for _, d := range e.Restore.Disks {
				l.served(e.Restore.ID, d.Port)
			}
		}
	default:
		l.backups[e.Backup.ID] = e.Backup
		if e.Backup.State == record.Exporting && e.Backup.Targets == "" {
			for _, d := range e.Backup.Runs {
				l.served(e.Backup.ID, d.Port)
			}
		}
	}
}

func (l *listener) served(id string, port uint16) {
	if l.Ports[id] == nil {
		l.Ports[id] = map[uint16]bool{}
	}
	l.Ports[id][port] = true
}

// Knows waits until the last event of every backup and restore shows it as it is on record.
func (l *listener) Knows(w *World) {
	w.Helper()
	diff := ""
	w.Eventually("every change has an event", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		backups, _, err := w.Store.Backups(store.Query{})
		Must(w.TB, err)
		restores, err := w.Store.Restores()
		Must(w.TB, err)
		diff = ""
		for _, b := range backups {
			diff += cmp.Diff(b.UpdatedAt, l.backups[b.ID].UpdatedAt)
		}
		for _, r := range restores {
			diff += cmp.Diff(r.UpdatedAt, l.restores[r.ID].UpdatedAt)
		}
		return diff == ""
	})
	if diff != "" {
		w.Errorf("on record, and in the last event: %s", diff)
	}
}
