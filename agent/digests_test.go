package agent_test

import (
	"os"
	"testing"

	imagedigest "github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
)

// manifest reads the manifest of a restore point.
func (w *world) manifest(b record.Backup) manifest.Manifest {
	w.Helper()
	repo := w.config.Repositories[0]
	m, err := repository.New(repo.ID, repo.Path, nil).Manifest(b.VM.Name, b.ID)
	must(w.TB, err)
	return m
}

// TestDigestsInTheManifest: the manifest of every restore point holds the digest of every image, as the file is.
func TestDigestsInTheManifest(t *testing.T) {
	w := newWorld(t)
	_, sources := w.putVM("vm", 32<<20, 16<<20)
	points := []record.Backup{w.point("vm", record.Full)}
	scribble(t, sources[0], 1<<20)
	points = append(points, w.point("vm", record.Incremental))
	for _, b := range points {
		for i, d := range w.manifest(b).Disks {
			image, err := os.ReadFile(b.Runs[i].Image)
			must(t, err)
			if d.Digest == nil || *d.Digest != imagedigest.Of(image) {
				t.Errorf("%s: the manifest says %+v, the file is %+v", b.Runs[i].Image, d.Digest, imagedigest.Of(image))
			}
		}
	}
}
