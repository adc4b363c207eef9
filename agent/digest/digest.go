// Package digest computes the digest of a whole file in one sequential read, gentle to the machine: holes are not read, the
// page cache is passed by, and the read can be slowed down and ended.
//
// The digest is BLAKE3 (a tree hash; 256 bits) of the file's bytes from the first to the last, where a hole counts as the
// zeroes that it reads as. So it is the same for a copy in which the holes lie elsewhere, and any other program that knows
// BLAKE3 computes the same, as b3sum(1).
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

// Algorithm is the only one there is.
const Algorithm = "blake3"

// A Digest is what a file was when it was read.
type Digest struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"` // 64 lower-case hexadecimal digits
	Bytes     int64  `json:"bytes"` // size of the file, holes and all
}

// newHash begins a digest. It takes in several gigabytes a second on one core, more than a disk gives.
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

// Validate says why it can be none. It comes from a file.
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

// ErrDiffers says that a file is not what it was.
var ErrDiffers = errors.New("is not what was written")

// Compare says in what a file differs from what it was, as ErrDiffers.
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
