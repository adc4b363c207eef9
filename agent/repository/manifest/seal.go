package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/sendense/backup-agent/agent/digest"
)

// A manifest contains the digest of its own text without the digits of that digest. So a flipped bit is found anywhere in it, also where
// the JSON remains valid: in a size, a change id, a tag.

// ErrSeal says that the text of a manifest has changed.
var ErrSeal = errors.New("has changed since it was written: its own digest does not match")

// seal encodes a manifest with its digest.
func (m Manifest) seal() ([]byte, error) {
	placeholder := strings.Repeat("0", 64)
	m.Digest = placeholder
	text, err := m.encode()
	if err != nil {
		return nil, err
	}
	at := bytes.LastIndex(text, []byte(placeholder)) // it is the last field
	copy(text[at:], digest.Of(without(text, at)).Value)
	return text, nil
}

// checkSeal compares a text with its own digest. A manifest of an older agent has none.
func (m Manifest) checkSeal(text []byte) error {
	if m.Digest == "" {
		return nil
	}
	at := bytes.LastIndex(text, []byte(m.Digest))
	if at >= 0 && digest.Of(without(text, at)).Value == m.Digest {
		return nil
	}
	return fmt.Errorf("manifest of %.300q: %w: put back a copy; if you changed it yourself, or know that it is right, "+
		"remove the line manifest_digest and the comma before it", m.BackupID, ErrSeal)
}

// without is a text without the 64 digits at an offset.
func without(text []byte, at int) []byte {
	return append(bytes.Clone(text[:at]), text[min(at+64, len(text)):]...)
}
