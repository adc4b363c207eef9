package agenttest

import (
	"sync"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

// A Listener keeps what the last event of each backup and restore told, and which ports the earlier ones told of.
type Listener struct {
	mu       sync.Mutex
	backups  map[string]record.Backup
	restores map[string]record.Restore
	ports    map[string]map[uint16]bool // by id, while exports are made
}

// Listen keeps what the agent tells of from now on.
func (w *World) Listen() *Listener {
	w.Helper()
	l := &Listener{backups: map[string]record.Backup{}, restores: map[string]record.Restore{}, ports: map[string]map[uint16]bool{}}
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

func (l *Listener) hear(e events.Event) {
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

func (l *Listener) served(id string, port uint16) {
	if l.ports[id] == nil {
		l.ports[id] = map[uint16]bool{}
	}
	l.ports[id][port] = true
}

// Exchanged fails the test unless the events told of each exchange of a port of so many disks.
func (l *Listener) Exchanged(w *World, id string, disks, exchanges int) {
	w.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ports[id]) < disks+exchanges {
		w.Errorf("%s: the events report the ports %v, want %d exchanges", id, l.ports[id], exchanges)
	}
}

// Knows waits until the last event of every backup and restore shows it as it is on record.
func (l *Listener) Knows(w *World) {
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
