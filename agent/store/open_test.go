package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/schema"
)

func TestOpenNew(t *testing.T) {
	directory := t.TempDir()
	path := filepath.Join(directory, "agent.db")
	s := openPath(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 || s.SizeBytes() <= 0 {
		t.Errorf("mode %v, error %v, %d bytes", info.Mode(), err, s.SizeBytes())
	}
	if files, err := os.ReadDir(directory); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, error %v", files, err)
	}
}

func TestOpenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := mustPrepare(t, s, vmOf("a", 2), start)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s.SizeBytes() != 0 {
		t.Error("a closed store has a size")
	}
	if _, err := s.Backup(b.ID); err == nil {
		t.Error("a closed store answers")
	}
	if again, err := openPath(t, path).Backup(b.ID); err != nil || again.ID != b.ID {
		t.Errorf("got %+v, error %v", again, err)
	}
}

func TestOpenWithoutDirectory(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "none")
	_, err := Open(filepath.Join(directory, "agent.db"), Options{})
	if err == nil || !strings.Contains(err.Error(), "directory "+directory+" does not exist: create it") {
		t.Errorf("got %v", err)
	}
	if _, err := Open(t.TempDir(), Options{}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
}

// Of several that make the database at once, all end up with the same one.
func TestCreateAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			s, err := Open(path, Options{Timeout: time.Minute})
			if err != nil {
				t.Error(err)
				return
			}
			mustPrepare(t, s, vmOf(fmt.Sprint(i), 1), start)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if active, err := openPath(t, path).Active(); err != nil || len(active) != 8 {
		t.Errorf("%d active, error %v", len(active), err)
	}
}

func TestLocked(t *testing.T) {
	s := openNew(t)
	begun := time.Now()
	_, err := Open(s.file.Path(), Options{Timeout: 50 * time.Millisecond})
	var locked *LockedError
	if !errors.As(err, &locked) || locked.Path != s.file.Path() || time.Since(begun) > time.Minute {
		t.Errorf("after %s: %v", time.Since(begun), err)
	}
}

func TestLockedByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	c := startChild(t, "hold", path)
	c.line(t)
	_, err := Open(path, Options{Timeout: 50 * time.Millisecond})
	var locked *LockedError
	if !errors.As(err, &locked) {
		t.Fatalf("got %v", err)
	}
	// Not every file system lists its locks under the number that stat reports.
	if holder := fmt.Sprintf("(pid %d)", c.cmd.Process.Pid); len(locked.Holders) > 0 && !strings.Contains(err.Error(), holder) {
		t.Errorf("want %s in: %v", holder, err)
	}
	c.kill(t)
	openPath(t, path)
}

// filled makes a database with something in every bucket, and returns the file's content.
func filled(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.db")
	s, err := Open(path, Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		p := preparation(vmOf(fmt.Sprintf("vm%d", i%30), 1), start.Add(time.Duration(i)*time.Minute))
		p.Backup.RequestID = fmt.Sprint("r", i)
		if _, err := s.PutVM(p.Backup.VM); err != nil {
			t.Fatal(err)
		}
		b, _, err := s.Prepare(p)
		if err != nil {
			t.Fatal(err)
		}
		if i < 50 {
			b = step(t, s, b, toCompleted...)
		}
		if i%10 == 0 && b.State.Terminal() {
			drop(t, s, b.ID)
		}
	}
	cooled(t, s)
	if err := s.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// openDamaged opens a file with the content and checks it. It says what came of it; a damaged file must be left as
// it is.
func openDamaged(t *testing.T, data []byte) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path, Options{Timeout: time.Second})
	if err == nil {
		err = s.Check(context.Background())
		_, _, errRead := s.Backups(query.Query{Limit: query.MaxPage})
		if errRead != nil && err == nil {
			t.Errorf("the check found nothing, but: %v", errRead)
		}
		if errClose := s.Close(); errClose != nil {
			t.Error(errClose)
		}
		return err
	}
	if after, errRead := os.ReadFile(path); errRead != nil || !bytes.Equal(after, data) {
		t.Errorf("the file was changed, error %v", errRead)
	}
	// The lock must be free again.
	if _, again := Open(path, Options{Timeout: time.Second}); again == nil || again.Error() != err.Error() {
		t.Errorf("the second time: %v; first: %v", again, err)
	}
	return err
}

func TestDamaged(t *testing.T) {
	whole := filled(t)
	for name, data := range map[string][]byte{
		"empty":        {},
		"one byte":     {0},
		"zeros":        make([]byte, len(whole)),
		"garbage":      bytes.Repeat([]byte("garbage "), len(whole)/8),
		"text":         []byte("[agent]\n"),
		"short":        whole[:100],
		"one page":     whole[:4096],
		"two pages":    whole[:8192],
		"half":         whole[:len(whole)/2],
		"odd":          whole[:len(whole)/2+123],
		"no tail":      whole[:5*4096],
		"no beginning": whole[3*4096:],
	} {
		if err := openDamaged(t, data); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "agent.db") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := openDamaged(t, whole); err != nil {
		t.Errorf("whole: %v", err)
	}
}

// A file that has lost its tail is refused when it is opened, and not only once the tail is asked for.
func TestTruncated(t *testing.T) {
	whole := filled(t)
	path := filepath.Join(t.TempDir(), "agent.db")
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	used := openPath(t, path).SizeBytes()
	for size := int64(4096); size < used; size += 4096 {
		path := filepath.Join(t.TempDir(), "agent.db")
		if err := os.WriteFile(path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d of %d bytes: %v", size, used, err)
		}
	}
}

// Any page may be lost: that is found, or it held nothing; and it never ends the process.
func TestDamagedPages(t *testing.T) {
	whole := filled(t)
	found := 0
	for offset := 0; offset < len(whole); offset += 4096 {
		for _, fill := range []byte{0x00, 0xff, 0x5a} {
			data := bytes.Clone(whole)
			copy(data[offset:], bytes.Repeat([]byte{fill}, 4096))
			err := openDamaged(t, data)
			if err != nil && !errors.Is(err, ErrDamaged) {
				t.Errorf("offset %d, filled with %#x: %v", offset, fill, err)
			}
			if err != nil {
				found++
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d found", found)
	}
}

func TestForeignDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []func(*bolt.Tx) error{
		func(*bolt.Tx) error { return nil },
		func(t *bolt.Tx) error { _, err := t.CreateBucket([]byte("theirs")); return err },
		func(t *bolt.Tx) error { _, err := t.CreateBucket(schema.BucketMeta); return err },
		func(t *bolt.Tx) error { return t.Bucket(schema.BucketMeta).Put(schema.KeySchema, []byte("one")) },
		func(t *bolt.Tx) error { return t.Bucket(schema.BucketMeta).Put(schema.KeySchema, []byte("1")) },
	} {
		if err := db.Update(step); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); !errors.Is(err, ErrDamaged) {
			t.Errorf("got %v", err)
		}
		if db, err = bolt.Open(path, 0o600, nil); err != nil {
			t.Fatal(err)
		}
	}
	_ = db.Close()
}

// The file on the disk is a whole database while the store is open.
func TestCopyOfAnOpenFile(t *testing.T) {
	s := openNew(t)
	for i := range 20 {
		b := mustPrepare(t, s, vmOf("a", 2), start.Add(time.Duration(i)*time.Minute))
		data, err := os.ReadFile(s.file.Path())
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "copy.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := openPath(t, path).Backup(b.ID); err != nil || got.ID != b.ID {
			t.Errorf("got %+v, error %v", got, err)
		}
		fail(t, s, b)
	}
}

func TestUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	if err := os.Symlink(path, path); err != nil {
		t.Fatal(err)
	}
	var pathError *fs.PathError
	if _, err := Open(path, Options{}); errors.Is(err, ErrDamaged) || !errors.As(err, &pathError) {
		t.Errorf("got %v", err)
	}
}
