package vcenter

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// The changes since a change id, written over the old content, give the new content.
func TestChangesMakeTheOldTheNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		size := rapid.Int64Range(1, 2000).Draw(t, "sectors") * 512
		before := make([]byte, size)
		after := make([]byte, size)
		for i := range size / 4096 {
			before[i*4096] = byte(rapid.IntRange(0, 1).Draw(t, "before"))
			after[i*4096] = byte(rapid.IntRange(0, 1).Draw(t, "after"))
		}
		var c changes
		c.remember("id/1", digestOf(t, dir, before))
		changed, err := c.since("id/1", "id/2", digestOf(t, dir, after), size)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range changed {
			copy(before[part.Offset:part.End()], after[part.Offset:part.End()])
		}
		if !bytes.Equal(before, after) {
			t.Fatal("differs")
		}
	})
}

func digestOf(t *rapid.T, dir string, content []byte) Generation {
	path := filepath.Join(dir, "disk")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	now, err := digests(t.Context(), file, int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return now
}
