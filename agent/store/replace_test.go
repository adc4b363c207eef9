package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	fill := func(s *Store) error {
		if _, err := s.PutVM(vmOf("a", 1)); err != nil {
			return err
		}
		return s.MarkRebuilt(start.Add(time.Hour))
	}
	if aside, err := Replace(path, fill); err != nil || aside != "" {
		t.Fatalf("where there is none: %q, %v", aside, err)
	}
	want := [][]byte{[]byte("one"), []byte("two")}
	var kept []string
	for _, damaged := range want {
		must(t, os.WriteFile(path, damaged, 0o600))
		aside, err := Replace(path, fill)
		must(t, err)
		kept = append(kept, aside)
	}
	for i, aside := range kept {
		if text, err := os.ReadFile(aside); err != nil || !cmp.Equal(text, want[i]) {
			t.Errorf("%s: %q, %v", aside, text, err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 3 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
	s, err := Open(path, Options{MustExist: true})
	must(t, err)
	defer s.Close()
	must(t, s.Check(context.Background()))
	if rebuilt, err := s.Rebuilt(); !rebuilt || err != nil {
		t.Errorf("rebuilt %v, error %v", rebuilt, err)
	}
	var cooling *rules.CoolingError
	if _, _, err := s.Prepare(preparation(vmOf("a", 1), start)); !errors.As(err, &cooling) || cooling.BackupID != schema.UnknownBackup {
		t.Errorf("a VM of a lost database: %v", err)
	}
	must(t, s.ClearRebuilt())
	if rebuilt, err := s.Rebuilt(); rebuilt || err != nil {
		t.Errorf("rebuilt %v, error %v", rebuilt, err)
	}
}

// TestReplaceFails: an error leaves the old file unchanged, and nothing beside it.
func TestReplaceFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	must(t, os.WriteFile(path, []byte("damaged"), 0o600))
	own := errors.New("own")
	if _, err := Replace(path, func(*Store) error { return own }); !errors.Is(err, own) {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "damaged" {
		t.Errorf("%q, %v", text, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
	must(t, os.Remove(path))
	_, err := Replace(path, func(*Store) error { return os.WriteFile(path, []byte("faster"), 0o600) })
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("another process was faster: %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "agent.db"), Options{MustExist: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that must exist: %v", err)
	}
}

// TestReplaceLocked: the database of a daemon that runs is not replaced under it.
func TestReplaceLocked(t *testing.T) {
	s := openNew(t)
	var locked *LockedError
	if _, err := Replace(s.file.Path(), func(*Store) error { return nil }); !errors.As(err, &locked) {
		t.Errorf("got %v", err)
	}
}

func TestAdopt(t *testing.T) {
	s := openNew(t)
	lost := record.Backup{
		ID: "backup-a-1", VM: record.VM{Name: "a"}, Type: record.Full, Repository: "local", State: record.Undoing, Directory: "/r/a",
		CreatedAt: start, UpdatedAt: start,
		Runs: []record.DiskRun{{DiskID: 3, Port: 10100, Unit: "u-0123abcd", ExportName: "a-disk3", Image: "/r/a/i"}},
	}
	leases := []record.Lease{{Port: 10100, BackupID: lost.ID, DiskID: 3, Nonce: "0123abcd", LeasedAt: start}}
	running := lost
	running.State = record.Running
	var state *rules.StateError
	if err := s.Adopt(running, leases); !errors.As(err, &state) {
		t.Errorf("one that goes on: %v", err)
	}
	must(t, s.Adopt(lost, leases))
	must(t, s.Check(context.Background()))
	other := lost
	other.ID = "backup-a-2"
	var active *rules.ActiveError
	if err := s.Adopt(other, leases); !errors.As(err, &active) {
		t.Errorf("another of the same VM: %v", err)
	}
	other.VM.Name = "b"
	if err := s.Adopt(other, leases); err == nil {
		t.Error("a port has two leases")
	}
	if err := s.Adopt(lost, leases); err == nil {
		t.Error("it is adopted twice")
	}
	step(t, s, lost, record.Failed)
	if left, err := s.Leases(); err != nil || len(left) > 0 {
		t.Errorf("leases %v, error %v", left, err)
	}
	must(t, s.Check(context.Background()))
}
