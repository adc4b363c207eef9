package store

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/dbfile"
	"github.com/sendense/backup-agent/agent/store/schema"
)

var update = flag.Bool("update", false, "write a file of the present schema version to testdata")

// oldFile is a copy of a file that an agent of a schema version wrote.
func oldFile(t *testing.T, version int) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("testdata/schema-%d.db", version))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "agent.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every version that was ever released can be opened, and holds what it held.
func TestOldFiles(t *testing.T) {
	if *update {
		writeOldFile(t)
	}
	for _, m := range schema.Migrations {
		t.Run(fmt.Sprint("schema ", m.Version), func(t *testing.T) { checkOldFile(t, m.Version) })
	}
}

func checkOldFile(t *testing.T, version int) {
	s := openPath(t, oldFile(t, version))
	if vm, err := s.VM("a"); err != nil || len(vm.Disks) != 2 {
		t.Errorf("got %+v, error %v", vm, err)
	}
	point, found, err := s.LatestCompleted("a", "local")
	if err != nil || !found || point.ID != "backup-a-1772366400" {
		t.Errorf("got %+v, found %v, error %v", point, found, err)
	}
	for _, deep := range []bool{false, true} {
		if b, found, err := s.LongestUnverified(Unverified{Deep: deep, Now: time.Now()}); err != nil || !found || b.ID != point.ID {
			t.Errorf("verified longest ago is %+v, found %v, error %v", b, found, err)
		}
	}
	active, err := s.Active()
	if err != nil || len(active) != 1 || active[0].Parent != point.ID || active[0].RequestID != "r" {
		t.Errorf("got %+v, error %v", active, err)
	}
	leases, err := s.Leases()
	if err != nil || len(leases) != 2 || leases[0].Port != 10102 {
		t.Errorf("got %+v, error %v", leases, err)
	}
	if ports, vms, err := s.Cooling(start); err != nil || len(ports) != 1 || len(vms) != 1 {
		t.Errorf("got %+v, %+v, error %v", ports, vms, err)
	}
	if removed, err := s.Removed("backup-c-1772366400"); err != nil || !removed {
		t.Errorf("removed %v, error %v", removed, err)
	}
	if b := mustPrepare(t, s, vmOf("d", 1), start); b.Runs[0].Port != 10106 && version == 1 {
		t.Errorf("the rotation went on with %d", b.Runs[0].Port)
	}
	restores, err := s.Restores()
	if err != nil || len(restores) != map[bool]int{true: 1}[version > 1] {
		t.Errorf("restores %+v, error %v", restores, err)
	}
	for _, r := range restores {
		if r.State != record.RestoreEnded || r.BackupID != point.ID {
			t.Errorf("got %+v", r)
		}
	}
	if r := mustRestore(t, s, point, start); len(r.Points) != 1 {
		t.Errorf("got %+v", r)
	}
}

func writeOldFile(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("testdata/schema-%d.db", schema.Latest(schema.Migrations))
	_ = os.Remove(path)
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutVM(vmOf("a", 2)); err != nil {
		t.Fatal(err)
	}
	point := step(t, s, mustPrepare(t, s, vmOf("a", 2), start), toCompleted...)
	p := incremental(vmOf("a", 2), point.ID, start.AddDate(0, 0, 1))
	p.Backup.RequestID = "r"
	if _, _, err := s.Prepare(p); err != nil {
		t.Fatal(err)
	}
	b := step(t, s, mustPrepare(t, s, vmOf("b", 1), start), record.Undoing)
	_, _, err = s.Update(b.ID, start, func(b *record.Backup) error {
		b.State, b.CooldownUntil = record.Failed, start.AddDate(100, 0, 0)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	gone := step(t, s, fail(t, s, mustPrepare(t, s, vmOf("c", 1), start)), record.Deleting)
	stepRestore(t, s, mustRestore(t, s, point, start), record.RestoreStopping, record.RestoreEnded)
	if err := errors.Join(s.RemoveBackup(gone.ID, start), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// next is what a release after this one might have.
func next(apply func(*bolt.Tx) error) []schema.Migration {
	return append(append([]schema.Migration{}, schema.Migrations...), schema.Migration{Version: schema.Latest(schema.Migrations) + 1, About: "add a bucket", Apply: apply})
}

func addBucket(t *bolt.Tx) error {
	_, err := t.CreateBucket([]byte("new"))
	return err
}

func TestMigration(t *testing.T) {
	path := oldFile(t, 1)
	for range 2 { // the step is taken once
		s, err := open(path, Options{Timeout: DefaultTimeout}, next(addBucket))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Open(path, Options{})
	var newer *schema.NewerSchemaError
	if !errors.As(err, &newer) || *newer != (schema.NewerSchemaError{Path: path, Version: schema.Latest(schema.Migrations) + 1, Supported: schema.Latest(schema.Migrations)}) {
		t.Errorf("got %v", err)
	}
}

// A step that fails leaves the file to the agent that wrote it.
func TestMigrationFails(t *testing.T) {
	path := oldFile(t, 1)
	own := errors.New("no")
	_, err := open(path, Options{Timeout: DefaultTimeout}, next(func(t *bolt.Tx) error { return errors.Join(addBucket(t), own) }))
	if !errors.Is(err, own) {
		t.Errorf("got %v", err)
	}
	s := openPath(t, path)
	if err := s.file.View(func(tx *dbfile.Tx) error {
		if tx.Bucket([]byte("new")) != nil {
			t.Error("half a step was written")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// A new file takes every step from the first.
func TestNewFileTakesEveryStep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.db")
	s, err := open(path, Options{Timeout: DefaultTimeout}, next(addBucket))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.file.View(func(tx *dbfile.Tx) error {
		if v, err := schema.SchemaVersion(tx.Tx); v != schema.Latest(schema.Migrations)+1 || err != nil || tx.Bucket([]byte("new")) == nil {
			t.Errorf("version %d, error %v", v, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestMigrationsAreNumbered(t *testing.T) {
	for i, m := range schema.Migrations {
		if i > 0 && m.Version <= schema.Migrations[i-1].Version || m.Version < 1 || m.About == "" || m.Apply == nil {
			t.Errorf("step %d: %+v", i+1, m)
		}
	}
}

// The buckets that the steps make are the ones that the schema names.
func TestMigrationsMakeTheSchema(t *testing.T) {
	want := map[string]bool{}
	for _, name := range schema.Buckets {
		want[string(name)] = true
	}
	got := map[string]bool{}
	s := openNew(t)
	if err := s.file.View(func(t *dbfile.Tx) error {
		return t.ForEach(func(name []byte, _ *bolt.Bucket) error {
			got[string(name)] = true
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
