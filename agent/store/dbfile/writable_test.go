package dbfile

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var bucket = []byte("bucket")

// simple is a file with one bucket.
var simple = Content{
	Make: func(t *bolt.Tx) error {
		_, err := t.CreateBucket(bucket)
		return err
	},
	Upgrade: func(*File) error { return nil },
	Lost:    func(*File) error { return nil },
	Check:   func(*File) error { return nil },
}

func openPath(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path, Options{}, simple)
	must(t, err)
	t.Cleanup(func() { must(t, f.Close()) })
	return f
}

func put(f *File, key string) error {
	return f.Update(func(t *Tx) error { return t.Bucket(bucket).Put([]byte(key), nil) })
}

// TestWritableIsBounded: however often it is asked whether a transaction can be written, few are written; and none where one was
// written a moment ago.
func TestWritableIsBounded(t *testing.T) {
	f := openPath(t, filepath.Join(t.TempDir(), "agent.db"))
	must(t, put(f, "a"))
	for range 200 {
		must(t, f.Writable())
	}
	first := f.LastTransaction()
	f.writes.mu.Lock()
	f.writes.at = f.writes.at.Add(-writtenLately)
	f.writes.mu.Unlock()
	for range 200 {
		must(t, f.Writable())
	}
	if wrote := f.LastTransaction() - first; wrote != 1 {
		t.Errorf("%d transactions for 200 questions", wrote)
	}
	must(t, put(f, "b"))
	if f.writes.at.Before(time.Now().Add(-time.Minute)) || f.writes.err != nil {
		t.Errorf("what was written is not noted: %+v", f.writes.err)
	}
}

// TestClassified: what keeps a database from being opened is told apart from damage and from a path that is wrong.
func TestClassified(t *testing.T) {
	for errno, want := range map[error]bool{
		unix.ENOSPC: true, unix.EDQUOT: true, unix.EROFS: true, unix.EIO: true, unix.ENOENT: false, unix.EACCES: false,
	} {
		var refused *UnwritableError
		err := classified("/state/agent.db", fmt.Errorf("database /state/agent.db: %w", errno))
		if errors.As(err, &refused) != want || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if err := classified("/state/agent.db", Damaged("/state/agent.db", unix.EIO)); !errors.Is(err, ErrDamaged) {
		t.Errorf("damage: %v", err)
	}
}
