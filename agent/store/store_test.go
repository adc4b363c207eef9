package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
)

// start is when the tests' clocks begin.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func openPath(t testing.TB, path string) *Store { return openWith(t, path, Options{}) }

func openWith(t testing.TB, path string, o Options) *Store {
	t.Helper()
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Check(context.Background()); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// openNew opens a new database, which is checked when the test ends. It does not wait for the disk: what a test looks
// for here does not depend on it, and hundreds of commits do.
func openNew(t testing.TB) *Store {
	t.Helper()
	return openWith(t, filepath.Join(t.TempDir(), "agent.db"), Options{NoSync: true})
}

var errNoPort = errors.New("no free port")

// portsOf is a chooser like the one of package nbd.
func portsOf(first, last uint16) PortChooser {
	return func(after uint16, taken func(uint16) bool, n int) ([]uint16, error) {
		if after < first || after > last {
			after = last
		}
		var ports []uint16
		for i := range int(last-first) + 1 {
			port := first + uint16((int(after-first)+1+i)%(int(last-first)+1))
			if !taken(port) {
				ports = append(ports, port)
			}
			if len(ports) == n {
				return ports, nil
			}
		}
		return nil, errNoPort
	}
}

func vmOf(name string, disks int) record.VM {
	vm := record.VM{Name: name}
	for i := range disks {
		vm.Disks = append(vm.Disks, record.Disk{ID: i, UnitNumber: i, CapacityBytes: 1 << 20})
	}
	return vm
}

func unitOf(id string, l record.Lease) string {
	return fmt.Sprintf("u-%s-disk%d-%s", id, l.DiskID, l.Nonce)
}

// preparation is what a caller would ask for.
func preparation(vm record.VM, now time.Time) Preparation {
	return Preparation{
		Backup: record.Backup{VM: vm, Type: record.Full, Repository: "local"},
		Now:    now,
		ID:     func(s int64) string { return fmt.Sprintf("backup-%s-%d", vm.Name, s) },
		Ports:  portsOf(10100, 10200),
		Complete: func(b *record.Backup, leases []record.Lease) {
			b.Directory = "/r/" + b.ID
			for i, l := range leases {
				run := &b.Runs[i]
				run.Unit, run.ExportName = unitOf(b.ID, l), fmt.Sprintf("%s-disk%d", vm.Name, l.DiskID)
				run.Image = b.Directory + "/" + run.ExportName
			}
		},
	}
}

func mustPrepare(t testing.TB, s *Store, vm record.VM, now time.Time) record.Backup {
	t.Helper()
	b, existing, err := s.Prepare(preparation(vm, now))
	if err != nil || existing {
		t.Fatalf("existing %v, error %v", existing, err)
	}
	return b
}

// step moves a backup through states, one second each.
func step(t testing.TB, s *Store, b record.Backup, states ...record.State) record.Backup {
	t.Helper()
	for _, state := range states {
		_, after, err := s.Update(b.ID, b.UpdatedAt.Add(time.Second), func(b *record.Backup) error {
			b.State = state
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		b = after
	}
	return b
}

var toCompleted = []record.State{record.Exporting, record.Calling, record.Running, record.Finishing, record.Completed}

func fail(t testing.TB, s *Store, b record.Backup) record.Backup {
	t.Helper()
	return step(t, s, b, record.Undoing, record.Failed)
}

func setState(state record.State) func(*record.Backup) error {
	return func(b *record.Backup) error {
		b.State = state
		return nil
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dequeue moves a queued backup to preparing.
func dequeue(
	s *Store, id string, now time.Time, ports PortChooser, complete func(*record.Backup, []record.Lease),
) (record.Backup, error) {
	_, after, err := s.Update(id, now, setState(record.Preparing), WithLeases(ports, complete))
	return after, err
}

// newPort exchanges the port of a disk.
func newPort(
	s *Store, id string, disk int, ports PortChooser, now time.Time, complete func(*record.Backup, record.Lease),
) (record.Backup, error) {
	_, after, err := s.Update(id, now, unchanged, WithNewPort(disk, ports, complete))
	return after, err
}

func unchanged(*record.Backup) error { return nil }

// newRestorePort exchanges the port of a restore's disk.
func newRestorePort(
	s *Store, id string, disk int, ports PortChooser, now time.Time, complete func(*record.Restore, record.Lease),
) (record.Restore, error) {
	_, after, err := s.UpdateRestore(id, now, func(*record.Restore) error { return nil }, WithNewRestorePort(disk, ports, complete))
	return after, err
}

// correct has a record follow its manifest.
func correct(s *Store, id string, now time.Time, f func(*record.Backup)) error {
	_, _, err := s.Update(id, now, func(b *record.Backup) error {
		f(b)
		return nil
	}, FromManifest())
	return err
}

// putVerification records what was found of the files of a restore point.
func putVerification(s *Store, id string, now time.Time, v *record.Verification) (record.Backup, error) {
	_, after, err := s.Update(id, now, func(b *record.Backup) error {
		if b.State == record.Completed {
			b.Verified = v
		}
		return nil
	})
	return after, err
}
