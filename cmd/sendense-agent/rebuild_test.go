package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

// lostHub is a machine that has lost its database.
type lostHub struct {
	*testing.T
	config, database string
	repositories     []*storage.Repository
}

func newHub(t *testing.T, repositories ...string) *lostHub {
	t.Helper()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	must(t, os.Mkdir(state, 0o755))
	h := &lostHub{T: t, config: filepath.Join(dir, "config.toml"), database: filepath.Join(state, "agent.db")}
	text := fmt.Sprintf("[agent]\nstate_directory = %q\nexporter_user = \"nobody\"\nexporter_group = \"\"\n", state)
	for _, id := range repositories {
		path := filepath.Join(dir, "repository-"+id)
		must(t, os.Mkdir(path, 0o755))
		text += fmt.Sprintf("[[repository]]\nid = %q\npath = %q\n", id, path)
		h.repositories = append(h.repositories, storage.New(storage.Options{Spec: storage.Spec{ID: id, Path: path}}))
	}
	must(t, os.WriteFile(h.config, []byte(text), 0o600))
	return h
}

// publish makes a restore point in the first repository; parent is nil for a full one.
func (h *lostHub) publish(vm string, second int64, parent *manifest.Manifest) manifest.Manifest {
	h.Helper()
	return publishIn(h.T, h.repositories[0], vm, second, parent)
}

func publishIn(t *testing.T, r *storage.Repository, vm string, second int64, parent *manifest.Manifest) manifest.Manifest {
	t.Helper()
	return publishMade(t, r, vm, 0, second, parent)
}

// publishMade makes a restore point with a sequence; 0 is one of an agent that gave none.
func publishMade(t *testing.T, r *storage.Repository, vm string, sequence uint64, second int64, parent *manifest.Manifest) manifest.Manifest {
	t.Helper()
	file := nbd.ExportName(vm, 0) + ".qcow2"
	disk := manifest.Disk{
		Key: 2000, DeviceKey: 2000, CapacityBytes: second * 512, File: file, Format: "qcow2", Content: record.WholeDisk,
		ChangeID: fmt.Sprint("change/", second), Check: manifest.Check{Result: manifest.CheckClean},
	}
	m := manifest.Manifest{
		Version: manifest.Version, BackupID: nbd.BackupID(vm, second), Type: record.Full, Repository: r.ID,
		Tags: map[string]string{"a": "b"}, VM: manifest.VM{Name: vm, InventoryPath: "/DC1/vm/x"},
		Sequence: sequence, CreatedAt: time.Unix(second, 0), CompletedAt: time.Unix(second+1, 0),
	}
	if parent != nil {
		m.Type, m.Parent = record.Incremental, parent.BackupID
		disk.Content, disk.Change, disk.Backing = record.Changes, record.Grown, "../"+parent.BackupID+"/"+file
	}
	m.Disks = []manifest.Disk{disk}
	dir := nbd.DirName(vm)
	must(t, r.MakeDir(t.Context(), dir, m.BackupID))
	must(t, os.WriteFile(filepath.Join(r.Dir(dir, m.BackupID), file), []byte("image"), 0o600))
	must(t, r.Publish(t.Context(), dir, m))
	return m
}

// rebuild runs the command as a person does.
func (h *lostHub) rebuild(args ...string) (string, error) {
	h.Helper()
	var out bytes.Buffer
	cmd := command()
	cmd.SetArgs(append([]string{"rebuild", "--config", h.config}, args...))
	cmd.SetOut(&out)
	err := cmd.Execute()
	return out.String(), err
}

// report runs the command as a program does.
func (h *lostHub) report(args ...string) (r rebuildReport, err error) {
	h.Helper()
	text, err := h.rebuild(append(args, "--output", "json")...)
	must(h.T, json.Unmarshal([]byte(text), &r))
	return r, err
}

func (h *lostHub) wantCounts(r rebuildReport, imported, there, vms, problems int) {
	h.Helper()
	got := []int{len(r.Imported), len(r.AlreadyThere), len(r.VMs), len(r.Problems)}
	if d := cmp.Diff([]int{imported, there, vms, problems}, got); d != "" {
		h.Errorf("imported, already there, VMs, problems:\n%s\n%+v", d, r)
	}
}

// open opens the database, which must be sound.
func (h *lostHub) open() *store.Store {
	h.Helper()
	db, err := store.Open(h.database, store.Options{})
	must(h.T, err)
	must(h.T, db.Check(h.Context()))
	return db
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRebuild(t *testing.T) {
	h := newHub(t, "main", "second")
	full := h.publish("vm", 1_700_000_000, nil)
	child := h.publish("vm", 1_700_000_100, &full)
	publishIn(t, h.repositories[1], "Other VM", 1_700_000_000, nil)
	r, err := h.report()
	must(t, err)
	h.wantCounts(r, 3, 0, 2, 0)

	db := h.open()
	newest, found, err := db.LatestCompleted("vm", "main")
	if err != nil || !found || newest.ID != child.BackupID || newest.Parent != full.BackupID {
		t.Errorf("newest %+v, %v, %v", newest, found, err)
	}
	child.Sequence = newest.Sequence // see TestRebuildKeepsOrder
	if d := cmp.Diff(child.Backup("main", h.repositories[0].Dir("vm", child.BackupID)), newest); d != "" {
		t.Error(d)
	}
	var pinned *store.PinnedError
	if err := markDeleting(db, full.BackupID); !errors.As(err, &pinned) {
		t.Errorf("the parent can be removed: %v", err)
	}
	vm, err := db.VM("vm")
	must(t, err)
	if vm.Disks[0].CapacityBytes != child.Disks[0].CapacityBytes {
		t.Errorf("vm %+v is not as its newest restore point has it", vm)
	}
	must(t, db.Close())

	r, err = h.report()
	must(t, err)
	h.wantCounts(r, 0, 3, 0, 0)
}

// TestRebuildKeepsOrder: the restore points are in the order in which they were made, whatever their dates say, and what is made
// afterwards comes after them all. Those of agents that gave no sequence come first, and each after what it stands on. Two hubs
// may have given the same sequence, and a repository may come later.
func TestRebuildKeepsOrder(t *testing.T) {
	const first, ahead = record.FirstSequence, 157_680_000
	h := newHub(t, "main", "second")
	main, second := h.repositories[0], h.repositories[1]
	full := publishMade(t, main, "vm", 0, 1_700_000_000+ahead*3, nil) // its clock was years ahead
	child := publishMade(t, main, "vm", 0, 1_700_000_100, &full)
	made := publishMade(t, main, "vm", first+2, 1_700_000_500, nil)
	wrong := publishMade(t, main, "vm", first+3, 1_600_000_000, nil) // years behind
	last := publishMade(t, main, "vm", first+4, 1_700_000_600, &wrong)
	publishMade(t, second, "vm", first+90, 1_700_000_000, nil)
	kept := main.Path + "-kept"
	must(t, os.Rename(second.Path, kept)) // not mounted
	must(t, os.Mkdir(second.Path, 0o755))
	r, err := h.report()
	must(t, err)
	h.wantCounts(r, 5, 0, 1, 0)
	wantOrder := func(db *store.Store, want ...manifest.Manifest) {
		t.Helper()
		points, err := db.PointsOf(store.PointGroup{Repository: "main", VM: "vm"})
		must(t, err)
		var got, ids []string
		for _, p := range points {
			got = append(got, p.ID)
		}
		for _, m := range want {
			ids = append(ids, m.BackupID)
		}
		if d := cmp.Diff(ids, got); d != "" {
			t.Error(d)
		}
	}
	db := h.open()
	wantOrder(db, last, wrong, made, child, full)
	if vm, err := db.VM("vm"); err != nil || vm.Disks[0].CapacityBytes != last.Disks[0].CapacityBytes {
		t.Errorf("vm %+v is not as the restore point has it that was made last, error %v", vm, err)
	}
	must(t, db.Close())

	// From another hub, which gave the same sequence; from an old agent; and one that no agent made.
	same := publishMade(t, main, "vm", first+4, 1_700_000_700, nil)
	old := publishMade(t, main, "vm", 0, 1_650_000_000, nil)
	forged := publishMade(t, main, "vm", record.MaxSequence, 1_640_000_000, nil)
	must(t, os.Remove(second.Path))
	must(t, os.Rename(kept, second.Path))
	r, err = h.report()
	if err == nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Reason, "sequence 9007199254740991") {
		t.Errorf("%+v, %v", r.Problems, err)
	}
	h.wantCounts(r, 4, 5, 0, 1)
	db = h.open()
	defer db.Close()
	wantOrder(db, same, last, wrong, made, child, full, old, forged)
	next := recordIn(t, db, "vm")
	if next.Sequence != first+91 {
		t.Errorf("the next backup has the sequence %d", next.Sequence)
	}
}

// recordIn puts a backup on record, once no VM cools down any more.
func recordIn(t *testing.T, db *store.Store, vm string) record.Backup {
	t.Helper()
	b, _, err := db.Enqueue(store.Preparation{
		Backup: record.Backup{VM: record.VM{Name: vm, Disks: []record.Disk{{CapacityBytes: 512}}}, Type: record.Full, Repository: "main"},
		Now:    time.Now().AddDate(1, 0, 0), ID: func(s int64) string { return nbd.BackupID(vm, s) },
	})
	must(t, err)
	return b
}

// TestRebuildKeepsRecords: what is on record is the truth.
func TestRebuildKeepsRecords(t *testing.T) {
	h := newHub(t, "main")
	h.publish("vm", 1_700_000_000, nil)
	db := h.open()
	known := record.VM{Name: "vm", ContextID: "of the hub"}
	_, err := db.PutVM(known)
	must(t, err)
	must(t, db.Close())
	r, err := h.report()
	must(t, err)
	h.wantCounts(r, 1, 0, 0, 0)
	db = h.open()
	defer db.Close()
	vm, err := db.VM("vm")
	must(t, err)
	if d := cmp.Diff(known, vm); d != "" {
		t.Error(d)
	}
}

func TestRebuildDryRun(t *testing.T) {
	h := newHub(t, "main")
	h.publish("vm", 1_700_000_000, nil)
	r, err := h.report("--dry-run")
	must(t, err)
	h.wantCounts(r, 1, 0, 1, 0)
	if _, err := os.Stat(h.database); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a database was made: %v", err)
	}
	must(t, h.open().Close())
	before, err := os.ReadFile(h.database)
	must(t, err)
	r, err = h.report("-n")
	must(t, err)
	h.wantCounts(r, 1, 0, 1, 0)
	after, err := os.ReadFile(h.database)
	must(t, err)
	if !bytes.Equal(before, after) || !r.DryRun || r.Database != h.database {
		t.Errorf("the database was changed, or the report does not say that it was not: %+v", r)
	}
}

func TestRebuildWhileTheDaemonRuns(t *testing.T) {
	h := newHub(t, "main")
	db := h.open()
	defer db.Close()
	for _, args := range [][]string{nil, {"--dry-run"}} {
		_, err := h.rebuild(args...)
		if err == nil || !strings.Contains(err.Error(), "locked by") || !strings.Contains(err.Error(), h.database) {
			t.Errorf("rebuild %v: %v", args, err)
		}
	}
}

func markDeleting(db *store.Store, id string) error {
	_, _, err := db.Update(id, time.Now(), func(b *record.Backup) error {
		b.State = record.Deleting
		return nil
	})
	return err
}

// TestRebuildProblems: what is broken is named and left out, everything else is done, and the command fails.
func TestRebuildProblems(t *testing.T) {
	h := newHub(t, "main", "copy", "gone")
	whole := h.publish("whole", 1_700_000_000, nil)
	failed := h.publish("failed", 1_700_000_000, nil)
	deleted := h.publish("deleted", 1_700_000_000, nil)
	broken := h.publish("broken", 1_700_000_000, nil)
	h.publish("broken", 1_700_000_100, &broken)
	must(t, os.Remove(filepath.Join(h.repositories[0].Dir("broken", broken.BackupID), broken.Disks[0].File)))
	publishIn(t, h.repositories[1], "whole", 1_700_000_000, nil) // the same backup in another place
	must(t, os.Remove(h.repositories[2].Path))

	db := h.open()
	unmade := failed.Backup("main", h.repositories[0].Dir("failed", failed.BackupID))
	unmade.State = record.Failed
	_, err := db.Import(unmade)
	must(t, err)
	_, err = db.Import(deleted.Backup("main", "/x"))
	must(t, err)
	must(t, markDeleting(db, deleted.BackupID))
	must(t, db.RemoveBackup(deleted.BackupID, time.Now()))
	must(t, db.Close())

	r, err := h.report()
	if err == nil || !strings.Contains(err.Error(), "6 problems") {
		t.Errorf("error %v", err)
	}
	h.wantCounts(r, 1, 0, 1, 6)
	if r.Imported[0].BackupID != whole.BackupID || r.Imported[0].Repository != "main" {
		t.Errorf("imported %+v", r.Imported)
	}
	var reasons []string
	for _, p := range r.Problems {
		reasons = append(reasons, p.Reason)
	}
	for _, want := range []string{
		"vm-disk0", "is not complete", "on record as failed", "on record as deleted", "is on record in " + h.repositories[0].Path, "repository gone",
	} {
		want = strings.ReplaceAll(want, "vm-disk0", broken.Disks[0].File+" is missing")
		if !strings.Contains(strings.Join(reasons, "\n"), want) {
			t.Errorf("no problem says %q: %q", want, reasons)
		}
	}
	if text := strings.Join(reasons, "\n"); strings.Contains(text, "remove this") || strings.Contains(text, "remove the") || strings.Contains(text, "remove one") {
		t.Errorf("somebody is told to remove what may be the only copy: %q", reasons)
	}
	must(t, h.open().Close())
}

// TestRebuildForged: a manifest that the exporters' user has written is none.
func TestRebuildForged(t *testing.T) {
	h := newHub(t, "main")
	m := h.publish("vm", 1_700_000_000, nil)
	must(t, os.Chown(filepath.Join(h.repositories[0].Dir("vm", m.BackupID), manifest.FileName), 65534, 65534))
	r, err := h.report()
	if err == nil {
		t.Error("no error")
	}
	h.wantCounts(r, 0, 0, 0, 1)
}

func TestRebuildForPeople(t *testing.T) {
	h := newHub(t, "main", "empty")
	full := h.publish("vm", 1_700_000_000, nil)
	h.publish("vm", 1_700_000_100, &full)
	link := filepath.Join(h.repositories[0].Path, "a\x1b[2Jb")
	must(t, os.Symlink("vm", link))
	text, err := h.rebuild()
	if err == nil || err.Error() != "rebuild: 1 problem, listed above" {
		t.Errorf("error %v", err)
	}
	want := `REPOSITORY  VM  IMPORTED  ALREADY THERE
main        vm  2         0
empty       -   0         0
registered vm vm
problem: ` + fmt.Sprintf("%q", link) + `
  is a symbolic link, which is never followed: put the directory itself here
done: 2 imported, 0 already there, 1 VM registered, 1 problem (` + h.database + `)
`
	if d := cmp.Diff(want, text); d != "" {
		t.Error(d)
	}
	if _, err := h.rebuild("--output", "xml"); err == nil || !strings.Contains(err.Error(), "text or json") {
		t.Errorf("error %v", err)
	}
}
