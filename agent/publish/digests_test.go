package publish_test

import (
	"os"
	"testing"

	"github.com/sendense/backup-agent/agent/agenttest"
	imagedigest "github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/record"
)

// TestDigestsInTheManifest: the manifest of every restore point holds the digest of every image file.
func TestDigestsInTheManifest(t *testing.T) {
	w := agenttest.New(t)
	_, sources := w.PutVM("vm", 32<<20, 16<<20)
	points := []record.Backup{w.Point("vm", record.Full)}
	agenttest.Scribble(t, sources[0], 1<<20)
	points = append(points, w.Point("vm", record.Incremental))
	for _, b := range points {
		for i, d := range w.Manifest(b).Disks {
			image, err := os.ReadFile(b.Runs[i].Image)
			agenttest.Must(t, err)
			if d.Digest == nil || *d.Digest != imagedigest.Of(image) {
				t.Errorf("%s: the manifest says %+v, the file is %+v", b.Runs[i].Image, d.Digest, imagedigest.Of(image))
			}
		}
	}
}
