package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Size is a number of bytes that TOML writes as "512MiB" or "1GiB". It is never negative. It is a struct so that a
// bare number, whose unit one would have to guess, is refused.
type Size struct{ bytes int64 }

// SizeOf makes a Size of a number of bytes.
func SizeOf(bytes int64) Size { return Size{bytes} }

// Bytes is the size in bytes.
func (s Size) Bytes() int64 { return s.bytes }

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (s Size) String() string {
	for _, u := range sizeUnits {
		if s.bytes >= u.bytes && s.bytes%u.bytes == 0 {
			return strconv.FormatInt(s.bytes/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// MarshalText writes the size as UnmarshalText reads it.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

var errSize = errors.New(`want a size such as "512MiB", "1GiB" or "0B"`)

// UnmarshalText reads a whole number and one of the units B, KiB, MiB, GiB and TiB.
func (s *Size) UnmarshalText(text []byte) error {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 {
			return errSize
		}
		if n > math.MaxInt64/u.bytes {
			return fmt.Errorf("%s is more than a file system holds", text)
		}
		s.bytes = n * u.bytes
		return nil
	}
	return errSize
}
