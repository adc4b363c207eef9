package agenttest

import (
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
)

// Manifest reads the manifest of a restore point.
func (w *World) Manifest(b record.Backup) manifest.Manifest {
	w.Helper()
	repo := w.Config.Repositories[0]
	m, err := repository.New(repo.ID, repo.Path, nil).Manifest(b.VM.Name, b.ID)
	Must(w.TB, err)
	return m
}
