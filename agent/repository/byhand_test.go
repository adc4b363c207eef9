package repository

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
)

// TestManifestChangedByHand: a person can remove the digest, as the error says.
func TestManifestChangedByHand(t *testing.T) {
	r := newRepository(t, nil)
	m := manifesttest.Full("vm", 1_700_000_000)
	_, dir := publish(t, r, m)
	path := filepath.Join(dir, manifest.FileName)
	text, err := os.ReadFile(path)
	must(t, err)
	text = bytes.Replace(text, []byte(`"gold"`), []byte(`"silver"`), 1)
	must(t, os.Chmod(path, 0o600))
	must(t, os.WriteFile(path, text, 0o600))
	_, err = r.Manifest("vm", m.BackupID)
	wantIs(t, err, manifest.ErrSeal)
	wantError(t, err, path, "remove the line manifest_digest")

	at := bytes.LastIndex(text, []byte(",\n  \"manifest_digest\""))
	must(t, os.WriteFile(path, append(text[:at:at], "\n}\n"...), 0o600))
	m, err = r.Manifest("vm", m.BackupID)
	must(t, err)
	if m.Policy != "silver" || m.Digest != "" {
		t.Errorf("read %+v", m)
	}
}
