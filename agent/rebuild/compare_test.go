package rebuild_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/rebuild"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A hub has a database and repositories, and no daemon.
type hub struct {
	*testing.T
	dir  string
	repo *storage.Repository
	db   *store.Store
}

func newHub(t *testing.T) *hub {
	dir := t.TempDir()
	h := &hub{T: t, dir: dir, repo: storage.New(storage.Options{Spec: storage.Spec{ID: "main", Path: filepath.Join(dir, "main")}})}
	must(t, os.Mkdir(h.repo.Path, 0o755))
	h.open("agent.db")
	return h
}

func (h *hub) open(name string) {
	h.Helper()
	db, err := store.Open(filepath.Join(h.dir, name), store.Options{})
	must(h.T, err)
	h.Cleanup(func() { _ = db.Close() })
	h.db = db
}

func newManifest(vm string, second int64, parent *manifest.Manifest) manifest.Manifest {
	file := nbd.ExportName(vm, 0) + ".qcow2"
	disk := manifest.Disk{
		Key: 2000, CapacityBytes: 1 << 20, File: file, Format: "qcow2", Content: record.WholeDisk,
		ChangeID: fmt.Sprint("change/", second), Check: manifest.Check{Result: manifest.CheckClean},
	}
	m := manifest.Manifest{
		Version: manifest.Version, BackupID: nbd.BackupID(vm, second), Type: record.Full, Repository: "main",
		VM: manifest.VM{Name: vm}, CreatedAt: time.Unix(second, 0), CompletedAt: time.Unix(second+1, 0),
	}
	if parent != nil {
		m.Type, m.Parent = record.Incremental, parent.BackupID
		disk.Content, disk.Change, disk.Backing = record.Changes, record.Same, "../"+parent.BackupID+"/"+file
	}
	m.Disks = []manifest.Disk{disk}
	return m
}

// publish makes a restore point and leaves the database alone.
func (h *hub) publish(m manifest.Manifest) manifest.Manifest {
	h.Helper()
	vm := nbd.DirName(m.VM.Name)
	must(h.T, h.repo.MakeDir(h.Context(), vm, m.BackupID))
	must(h.T, os.WriteFile(filepath.Join(h.repo.Dir(vm, m.BackupID), m.Disks[0].File), []byte(m.BackupID), 0o600))
	must(h.T, h.repo.Publish(h.Context(), vm, m))
	return m
}

func (h *hub) record(m manifest.Manifest) record.Backup {
	h.Helper()
	b := m.Backup("main", h.repo.Dir(nbd.DirName(m.VM.Name), m.BackupID))
	if added, err := h.db.Import(b); err != nil || !added {
		h.Fatalf("%v, %v", added, err)
	}
	return b
}

// chain makes a full backup and incrementals, recorded.
func (h *hub) chain(vm string, length int) (chain []manifest.Manifest) {
	h.Helper()
	for i := range length {
		m := newManifest(vm, 1_700_000_000+int64(i), nil)
		if i > 0 {
			m = newManifest(vm, 1_700_000_000+int64(i), &chain[i-1])
		}
		chain = append(chain, h.publish(m))
		h.record(m)
	}
	return chain
}

// mergedOnDisk gives a restore point another parent, as a merge does, and leaves the database unchanged.
func (h *hub) mergedOnDisk(m manifest.Manifest, onto *manifest.Manifest) manifest.Manifest {
	h.Helper()
	vm := nbd.DirName(m.VM.Name)
	must(h.T, h.repo.RemovePoint(h.Context(), vm, m.BackupID))
	again := newManifest(m.VM.Name, m.CreatedAt.Unix(), onto)
	again.Merge = &record.Merged{At: time.Unix(1_800_000_000, 0), Points: 1, Synthetic: onto == nil}
	return h.publish(again)
}

func (h *hub) compare() rebuild.Comparison {
	h.Helper()
	c, err := rebuild.Compare(h.Context(), h.db, h.repo, nil)
	must(h.T, err)
	return c
}

// finds wants exactly these differences: KIND ID, and a part of the reason.
func (h *hub) finds(want map[string]string) {
	h.Helper()
	c := h.compare()
	var got []string
	for _, d := range c.Named {
		key := string(d.Kind) + " " + d.BackupID
		got = append(got, key)
		if word, expected := want[key]; !expected || !strings.Contains(d.Reason, word) {
			h.Errorf("%s: %s, want %q", key, d.Reason, word)
		}
		if strings.Contains(d.Reason, "remove th") || filepath.Base(d.Path) != d.BackupID {
			h.Errorf("%+v", d)
		}
	}
	if len(got) != len(want) || c.Differences() != len(want) {
		h.Errorf("found %q, want %q", got, slices.Sorted(maps.Keys(want)))
	}
}

func (h *hub) update() *rebuild.Report {
	h.Helper()
	r, err := rebuild.Update(h.Context(), h.db, []*storage.Repository{h.repo})
	must(h.T, err)
	must(h.T, h.db.Check(h.Context()))
	return r
}

// TestOlderDatabase: a database that was put back lacks what was made, merged and deleted since. All of it is
// found, and a rebuild corrects what it can.
func TestOlderDatabase(t *testing.T) {
	h := newHub(t)
	chain := h.chain("vm", 4)
	kept := h.chain("kept", 2)
	h.finds(nil)
	old, err := os.ReadFile(filepath.Join(h.dir, "agent.db"))
	must(t, err)

	// A merge of 1 into 2, a consolidation of the other VM's newest, a new restore point, and a new VM.
	h.mergedOnDisk(chain[2], &chain[0])
	must(t, h.repo.RemovePoint(t.Context(), "vm", chain[1].BackupID))
	h.mergedOnDisk(kept[1], nil)
	fresh := h.publish(newManifest("vm", 1_700_000_100, &chain[3]))
	other := h.publish(newManifest("other", 1_700_000_000, nil))
	must(t, os.WriteFile(filepath.Join(h.dir, "old.db"), old, 0o600))
	h.open("old.db")

	h.finds(map[string]string{
		"unrecorded " + fresh.BackupID: "not on record", "unrecorded " + other.BackupID: "not on record",
		"missing " + chain[1].BackupID:   "its directory is not there",
		"different " + chain[2].BackupID: fmt.Sprintf("parent: %q on record, %q in the manifest", chain[1].BackupID, chain[0].BackupID),
		"different " + kept[1].BackupID:  `backup_type: "incremental" on record, "full" in the manifest`,
	})
	r := h.update()
	if len(r.Imported) != 2 || len(r.Corrected) != 2 || len(r.AlreadyThere) != 3 || len(r.Problems) != 0 || len(r.VMs) != 3 {
		t.Errorf("%+v", r)
	}
	h.finds(map[string]string{"missing " + chain[1].BackupID: ""})
	b, err := h.db.Backup(chain[2].BackupID)
	if err != nil || b.Parent != chain[0].BackupID || b.Merged == nil || b.Runs[0].Backing != "../"+chain[0].BackupID+"/"+chain[0].Disks[0].File {
		t.Errorf("%+v, %v", b, err)
	}
	if r := h.update(); len(r.Imported)+len(r.Corrected) != 0 || len(r.AlreadyThere) != 7 {
		t.Errorf("once more: %+v", r)
	}
}

// TestNoDifference: nothing that is at work, or was put away, is one.
func TestNoDifference(t *testing.T) {
	h := newHub(t)
	chain := h.chain("vm", 3)
	must(t, h.repo.MakeDir(h.Context(), "vm", "vm-running"))
	must(t, h.repo.MakeDir(h.Context(), "new", "new-running"))
	must(t, h.repo.MakeScratch(t.Context(), "restore-1"))
	must(t, h.repo.MakeDir(h.Context(), "vm", "vm-failed"))
	_, err := h.repo.SetAside(t.Context(), "vm", "vm-failed")
	must(t, err)
	must(t, h.repo.MakeMerge(t.Context(), "vm", chain[2].BackupID))
	must(t, os.WriteFile(filepath.Join(h.repo.Path, "vm", "README"), nil, 0o600))
	must(t, os.Mkdir(filepath.Join(h.repo.Path, "lost+found"), 0o700))
	h.finds(nil)

	// A merge has exchanged its directory: the record follows in a moment.
	_, _, err = h.db.Update(chain[2].BackupID, time.Now(), func(b *record.Backup) error {
		b.Merge = &record.Merge{NewParent: chain[0].BackupID, StartedAt: time.Now()}
		return nil
	})
	must(t, err)
	must(t, h.repo.RemoveMerge(t.Context(), "vm", chain[2].BackupID))
	h.mergedOnDisk(chain[2], &chain[0])
	h.finds(nil)
	if r := h.update(); len(r.Corrected)+len(r.Problems) != 0 {
		t.Errorf("a rebuild meddles with it: %+v", r)
	}

	// A backup finishes: its manifest is there, its record follows in a moment. Another is being deleted.
	second := int64(1_700_000_500)
	running, _, err := h.db.Prepare(store.Preparation{
		Backup: record.Backup{VM: record.VM{Name: "now", Disks: []record.Disk{{CapacityBytes: 1 << 20}}}, Type: record.Full, Repository: "main"},
		Now:    time.Unix(second, 0), ID: func(at int64) string { return nbd.BackupID("now", at) },
		Ports: func(uint16, func(uint16) bool, int) ([]uint16, error) { return []uint16{10100}, nil },
		Complete: func(b *record.Backup, leases []record.Lease) {
			b.Directory = h.repo.Dir("now", b.ID)
			b.Runs[0].ExportName, b.Runs[0].Image, b.Runs[0].Unit = "x", b.Directory+"/x.qcow2", "sendense-nbd-"+leases[0].Nonce
		},
	})
	must(t, err)
	m := newManifest("now", second, nil)
	if m.BackupID != running.ID {
		t.Fatalf("%s and %s", m.BackupID, running.ID)
	}
	h.publish(m)
	gone := h.chain("gone", 1)
	_, _, err = h.db.Update(gone[0].BackupID, time.Now(), func(b *record.Backup) error {
		b.State = record.Deleting
		return nil
	})
	must(t, err)
	h.finds(nil)
	must(t, os.RemoveAll(h.repo.Dir("gone", gone[0].BackupID)))
	h.finds(nil)
}

// TestRepositoryAway: a repository that is away has nothing missing.
func TestRepositoryAway(t *testing.T) {
	h := newHub(t)
	h.finds(nil) // empty, and nothing on record
	h.chain("vm", 2)
	must(t, os.Rename(h.repo.Path, h.repo.Path+".away"))
	if _, err := rebuild.Compare(t.Context(), h.db, h.repo, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("not there: %v", err)
	}
	must(t, os.Mkdir(h.repo.Path, 0o755))
	if _, err := rebuild.Compare(t.Context(), h.db, h.repo, nil); !errors.Is(err, repository.ErrEmpty) {
		t.Errorf("not mounted: %v", err)
	}
	must(t, os.Remove(h.repo.Path))
	must(t, os.Rename(h.repo.Path+".away", h.repo.Path))
	ctx, cancel := context.WithCancel(t.Context())
	read := 0
	_, err := rebuild.Compare(ctx, h.db, h.repo, func(context.Context) error {
		read++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || read != 1 {
		t.Errorf("cancelled: %v, %d manifests were read", err, read)
	}
	h.finds(nil)
}

// TestManyDifferences: all are counted, the first are named.
func TestManyDifferences(t *testing.T) {
	h := newHub(t)
	for i := range 30 {
		h.publish(newManifest("vm", 1_700_000_000+int64(i), nil))
	}
	c := h.compare()
	if c.Unrecorded != 30 || len(c.Named) != 20 || c.Points != 30 || c.At.IsZero() {
		t.Errorf("%+v", c)
	}
}
