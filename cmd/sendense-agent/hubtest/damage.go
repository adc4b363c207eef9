package hubtest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Harm leaves of the database what f makes of it.
func (h *Hub) Harm(f func([]byte) []byte) []byte {
	h.Helper()
	path := filepath.Join(h.Dir, "state", "agent.db")
	whole, err := os.ReadFile(path)
	Must(h.T, err)
	left := f(bytes.Clone(whole))
	if bytes.Equal(left, whole) {
		h.Fatal("no harm is done")
	}
	if left == nil {
		Must(h.T, os.Remove(path))
	} else {
		Must(h.T, os.WriteFile(path, left, 0o600))
	}
	return left
}

// Flip flips a bit in the midst of a file.
func Flip(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	Must(t, err)
	FlipAt(t, path, info.Size()/2)
}

func FlipAt(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	Must(t, err)
	defer f.Close()
	one := make([]byte, 1)
	_, err = f.ReadAt(one, at)
	Must(t, err)
	one[0] ^= 16
	_, err = f.WriteAt(one, at)
	Must(t, err)
}
