package repository

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/agent/digest"
)

// TestFlippedBitInManifest: every bit of a manifest is guarded, by its digest or by its form.
func TestFlippedBitInManifest(t *testing.T) {
	m := fullManifest("vm", 1_700_000_000)
	m.Disks[0].Digest = &digest.Digest{Algorithm: digest.Algorithm, Value: digest.Of(nil).Value, Bytes: 5}
	text, err := m.Encode()
	must(t, err)
	sealed := 0
	for i := range text {
		for bit := range 8 {
			flipped := bytes.Clone(text)
			flipped[i] ^= 1 << bit
			_, err := DecodeManifest(flipped)
			if err == nil {
				t.Fatalf("bit %d of byte %d is flipped, and nobody sees it:\n%s", bit, i, flipped)
			}
			if errors.Is(err, ErrSeal) {
				sealed++
			}
		}
	}
	if sealed < len(text) {
		t.Errorf("only %d of %d flipped bits were found by the digest: it is looked at too late", sealed, 8*len(text))
	}
}

// TestManifestChangedByHand: who knows what he does can take the digest out, as the error says.
func TestManifestChangedByHand(t *testing.T) {
	r := newRepository(t, nil)
	m := fullManifest("vm", 1_700_000_000)
	_, dir := publish(t, r, m)
	path := filepath.Join(dir, ManifestName)
	text, err := os.ReadFile(path)
	must(t, err)
	text = bytes.Replace(text, []byte(`"gold"`), []byte(`"silver"`), 1)
	must(t, os.Chmod(path, 0o600))
	must(t, os.WriteFile(path, text, 0o600))
	_, err = r.Manifest("vm", m.BackupID)
	wantIs(t, err, ErrSeal)
	wantError(t, err, path, "remove the line manifest_digest")

	at := bytes.LastIndex(text, []byte(",\n  \"manifest_digest\""))
	must(t, os.WriteFile(path, append(text[:at:at], "\n}\n"...), 0o600))
	m, err = r.Manifest("vm", m.BackupID)
	must(t, err)
	if m.Policy != "silver" || m.Digest != "" {
		t.Errorf("read %+v", m)
	}
}
