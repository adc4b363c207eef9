// Package digest computes the digest of a whole file in one sequential read that does not disturb the machine: it skips holes,
// bypasses the page cache, and can be limited and ended. It stores no digest, and knows no images.
//
// The digest is BLAKE3 (a tree hash; 256 bits) of all bytes of the file, with holes as zeroes. So it does not depend on where the
// holes of a copy are, and other programs compute the same, such as b3sum(1).
package digest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"github.com/zeebo/blake3"
)

// Algorithm is the only one that is supported.
const Algorithm = "blake3"

// A Digest identifies the contents of a file.
type Digest struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"` // 64 lower-case hexadecimal digits
	Bytes     int64  `json:"bytes"` // size of the file, including holes
}

// newHash begins a digest. It processes several gigabytes a second on one core, more than a disk delivers.
func newHash() hash.Hash { return blake3.New() }

func made(h hash.Hash, size int64) Digest {
	return Digest{Algorithm: Algorithm, Value: hex.EncodeToString(h.Sum(nil)), Bytes: size}
}

// Of is the digest of a text.
func Of(text []byte) Digest {
	h := newHash()
	_, _ = h.Write(text) // never fails
	return made(h, int64(len(text)))
}

// Validate checks a digest that was read from a file.
func (d Digest) Validate() error {
	switch raw, err := hex.DecodeString(d.Value); {
	case d.Algorithm != Algorithm:
		return fmt.Errorf("algorithm %.300q: want %s", d.Algorithm, Algorithm)
	case err != nil || len(raw) != 32 || strings.ToLower(d.Value) != d.Value:
		return fmt.Errorf("value %.300q: want 64 lower-case hexadecimal digits", d.Value)
	case d.Bytes < 0:
		return fmt.Errorf("bytes %d: is negative", d.Bytes)
	}
	return nil
}

// ErrDiffers says that the contents of a file have changed.
var ErrDiffers = errors.New("is not what was written")

// Compare says how a file differs from its digest, as ErrDiffers.
func (d Digest) Compare(now Digest) error {
	switch {
	case d.Algorithm != now.Algorithm:
		return fmt.Errorf("digest by %q cannot be compared with one by %q", d.Algorithm, now.Algorithm)
	case d.Bytes != now.Bytes:
		return fmt.Errorf("%w: has %d bytes, had %d", ErrDiffers, now.Bytes, d.Bytes)
	case !bytes.Equal([]byte(d.Value), []byte(now.Value)):
		return fmt.Errorf("%w: its %s digest is %s, was %s", ErrDiffers, d.Algorithm, now.Value, d.Value)
	}
	return nil
}
