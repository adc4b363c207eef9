package agenttest

import (
	"os"
	"path/filepath"
	"time"

	"github.com/sendense/backup-agent/agent/doctor"
	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
)

// Redated shifts the dates of restore points by the given time, as if the clock had been wrong when they were made. It rewrites their
// manifests, rebuilds the database from the manifests, and restarts the agent.
func (w *World) Redated(by time.Duration, points ...record.Backup) {
	w.Helper()
	manifests := make([]manifest.Manifest, len(points))
	for i, b := range points {
		manifests[i] = w.Manifest(b)
	}
	w.Stop()
	for i, m := range manifests {
		m.CreatedAt, m.CompletedAt, m.Digest = m.CreatedAt.Add(by), m.CompletedAt.Add(by), ""
		text, err := m.Encode()
		Must(w.TB, err)
		path := filepath.Join(points[i].Directory, manifest.FileName)
		Must(w.TB, os.WriteFile(path+".new", text, 0o444))
		Must(w.TB, os.Rename(path+".new", path))
	}
	repo := w.Config.Repositories[0]
	database := filepath.Join(w.Config.Agent.StateDirectory, "agent.db")
	Must(w.TB, os.Remove(database))
	report, _, err := rebuild.Replace(w.Context(), database, []*storage.Repository{storage.New(storage.Options{Spec: storage.Spec{ID: repo.ID, Path: repo.Path}})}, 0, nil)
	Must(w.TB, err)
	if len(report.Problems) > 0 {
		w.Fatalf("%+v", report.Problems)
	}
	w.Start()
}

// DoctorSays returns the findings of one check of the doctor.
func (w *World) DoctorSays(check string) (list []doctor.Finding) {
	w.Helper()
	for _, f := range doctor.Live(w.Context(), w.Agent).Findings {
		if f.Check == check {
			list = append(list, f)
		}
	}
	return list
}
