package crashtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/manifest"
	"github.com/sendense/backup-agent/agent/store"
)

// check looks, with the daemon stopped and every backup ended, at all that must hold, from outside: database, units,
// directories, images.
func (c *crash) check() {
	c.Helper()
	records := c.hub.check()
	for _, manifest := range c.published {
		id := filepath.Base(filepath.Dir(manifest))
		if _, there := records[id]; !there && c.operation.deletes {
			continue // that nothing is left of it has been checked
		}
		if records[id].State != record.Completed {
			c.Errorf("backup %s had a manifest when the daemon was killed, and is %q now", id, records[id].State)
		}
	}
}

// invariants are what must hold of a hub whose daemon is stopped, each a method.
type invariants struct{ *hub }

func (h *hub) check() map[string]record.Backup {
	h.Helper()
	h.healthy()
	h.postedOnce()
	return invariants{h}.check()
}

func (h invariants) check() map[string]record.Backup {
	h.Helper()
	h.checkUnits()
	records := h.checkStore()
	h.checkRequests(records)
	h.checkRepositories(records)
	for _, b := range records {
		if b.State == record.Completed {
			h.checkImages(b)
		} else {
			h.checkThrownAway(b)
		}
	}
	return records
}

// checkUnits: no exporter is left, and what only looked like one still runs.
func (h invariants) checkUnits() {
	h.Helper()
	for name := range h.vms {
		left, err := exporterUnits(name)
		must(h.T, err)
		for _, unit := range left {
			if !slices.Contains(h.foreign, unit) {
				h.Errorf("unit %s is left behind", unit)
			}
		}
	}
	for _, unit := range h.foreign {
		if _, err := systemctl("is-active", unit); err != nil {
			h.Errorf("a unit of somebody else was touched: %v", err)
		}
		_, _ = systemctl("stop", unit) // a failure has been told
	}
}

// checkStore: the database is sound, nothing is leased, nothing is active.
func (h invariants) checkStore() map[string]record.Backup {
	h.Helper()
	s, err := store.Open(filepath.Join(h.dir, "state", "agent.db"), store.Options{})
	must(h.T, err)
	defer s.Close()
	if err := s.Check(h.Context()); err != nil {
		h.Error(err)
	}
	leases, err := s.Leases()
	must(h.T, err)
	for _, l := range leases {
		h.Errorf("port %d is still leased to %s", l.Port, l.BackupID)
	}
	records := map[string]record.Backup{}
	for query := (store.Query{Limit: store.MaxPage}); ; {
		page, next, err := s.Backups(query)
		must(h.T, err)
		for _, b := range page {
			records[b.ID] = b
			if b.State.Active() {
				h.Errorf("backup %s is %s", b.ID, b.State)
			}
		}
		if query.Cursor = next; next == "" {
			return records
		}
	}
}

// checkRequests: no request has made two backups.
func (h invariants) checkRequests(records map[string]record.Backup) {
	h.Helper()
	made := map[string]string{}
	for id, b := range records {
		if b.RequestID == "" { // it went with a lost database
			continue
		}
		if other, ok := made[b.RequestID]; ok {
			h.Errorf("request %s made %s and %s", b.RequestID, id, other)
		}
		made[b.RequestID] = id
	}
}

func (h invariants) checkRepositories(records map[string]record.Backup) {
	h.Helper()
	for id, path := range h.repositories() {
		h.checkRepository(id, path, records)
	}
}

// checkRepository: there is a directory for every completed backup, whole and with a manifest that agrees with the record,
// and nothing else.
func (h invariants) checkRepository(id, path string, records map[string]record.Backup) {
	h.Helper()
	points, problems, err := repository.New(id, path, nil).Points()
	must(h.T, err)
	for _, p := range problems {
		h.Errorf("repository: %s: %v", p.Path, p.Err)
	}
	found := map[string]bool{}
	for _, p := range points {
		b := records[p.Manifest.BackupID]
		found[b.ID] = true
		if err := disagreement(b, p); err != nil {
			h.Errorf("manifest of %s: %v", p.Path, err)
		}
	}
	for _, b := range records {
		if b.State == record.Completed && b.Repository == id && !found[b.ID] {
			h.Errorf("backup %s is completed and has no manifest", b.ID)
		}
	}
	h.checkNames(path, records)
}

// disagreement says how a manifest differs from the record it was made of.
func disagreement(b record.Backup, p repository.Found) error {
	m := p.Manifest
	if b.State != record.Completed || p.Path != b.Directory || !p.Whole {
		return fmt.Errorf("record %q in %s is %q, whole: %t", b.ID, b.Directory, b.State, p.Whole)
	}
	if b.RequestID == "" {
		m.RequestID = "" // made again from its manifest
	}
	if m.VM.Name != b.VM.Name || m.Type != b.Type || m.Parent != b.Parent || m.RequestID != b.RequestID || len(m.Disks) != len(b.Runs) {
		return fmt.Errorf("%+v is not %+v", m, b)
	}
	for i, d := range m.Disks {
		run := b.Runs[i]
		if d.DiskID != run.DiskID || d.ChangeID != run.ChangeID || d.ChangeID == "" || d.File != filepath.Base(run.Image) ||
			d.CapacityBytes != run.CapacityBytes || d.Backing != run.Backing {
			return fmt.Errorf("disk %d: %+v is not %+v", i, d, run)
		}
	}
	return nil
}

// checkNames: every file below the repository is a restore point's, or lies in what was set aside on purpose.
func (h invariants) checkNames(path string, records map[string]record.Backup) {
	h.Helper()
	known := map[string]bool{}
	for _, b := range records {
		if b.State != record.Completed {
			continue
		}
		known[filepath.Dir(b.Directory)], known[b.Directory] = true, true
		known[filepath.Join(b.Directory, manifest.FileName)] = true
		for _, run := range b.Runs {
			known[run.Image] = true
		}
	}
	must(h.T, filepath.WalkDir(path, func(name string, entry os.DirEntry, err error) error {
		switch {
		case err != nil || name == path:
			return err
		case name == filepath.Join(path, ".failed"):
			return filepath.SkipDir
		case !known[name]:
			h.Errorf("%s is left behind", name)
		}
		return nil
	}))
}

// checkImages: every image holds what its disk did at the instant of the snapshot.
func (h invariants) checkImages(b record.Backup) {
	h.Helper()
	h.mu.Lock()
	instants := h.instants[b.ID]
	h.mu.Unlock()
	if len(instants) != len(b.Runs) {
		h.Errorf("backup %s is completed, and no snapshot was taken for it", b.ID)
		return
	}
	for i, run := range b.Runs {
		out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "qcow2", instants[i], run.Image).CombinedOutput()
		if err != nil {
			h.Errorf("image %s is not what its disk was: %s", run.Image, out)
		}
	}
}

// checkThrownAway: a copy that SBC finished, every report of which was answered 200, is not thrown away, unless somebody
// asked for that or killed an exporter.
func (h invariants) checkThrownAway(b record.Backup) {
	h.Helper()
	run, ok := h.sna.State().Run(b.ID)
	if ok && run.Done && run.Error == "" && b.State == record.Failed && !h.robbed[b.ID] {
		h.Errorf("backup %s failed, though its copy came to its end: %+v", b.ID, b.Failure)
	}
}
