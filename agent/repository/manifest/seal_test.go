package manifest_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/sendense/backup-agent/agent/digest"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/repository/manifest/manifesttest"
)

// TestFlippedBitInManifest: a flipped bit anywhere in a manifest is found, by its digest or by its form.
func TestFlippedBitInManifest(t *testing.T) {
	m := manifesttest.Full("vm", 1_700_000_000)
	m.Disks[0].Digest = &digest.Digest{Algorithm: digest.Algorithm, Value: digest.Of(nil).Value, Bytes: 5}
	text, err := m.Encode()
	must(t, err)
	sealed := 0
	for i := range text {
		for bit := range 8 {
			flipped := bytes.Clone(text)
			flipped[i] ^= 1 << bit
			_, err := manifest.Decode(flipped)
			if err == nil {
				t.Fatalf("bit %d of byte %d is flipped, and Decode accepts it:\n%s", bit, i, flipped)
			}
			if errors.Is(err, manifest.ErrSeal) {
				sealed++
			}
		}
	}
	if sealed < len(text) {
		t.Errorf("only %d of %d flipped bits were found by the digest: it is checked too late", sealed, 8*len(text))
	}
}
