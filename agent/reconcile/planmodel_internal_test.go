package reconcile

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/units"
)

const (
	modelSlice = "sendense-nbd.slice"
	modelRepo  = "main"
)

// A modelWorld is what plans are applied to: the database, systemd and the repositories, as values.
type modelWorld struct {
	observed
	live    map[string]bool // backups that have a job
	foreign map[string]bool // units and directories that must survive
}

// TestPlanSettles: whatever is found, after the plan is applied the next plan only leaves alone what is not ours. No foreign unit or
// directory is changed, no exporter of an active backup stops, and in the end every lease belongs to an active backup. A crash while
// the plan is applied changes none of that.
func TestPlanSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawWorld(t)
		before := m.clone()
		whole := m.clone()
		whole.follow(t, plan(whole.observe()))
		whole.settled(t, before)

		steps := plan(m.observe())
		m.follow(t, steps[:rapid.IntRange(0, len(steps)).Draw(t, "steps before the crash")])
		m.live = map[string]bool{} // the next agent
		m.follow(t, plan(m.observe()))
		m.settled(t, before)
		if !reflect.DeepEqual(m.what(), whole.what()) {
			t.Errorf("after a crash it ends as %+v, without as %+v", m.what(), whole.what())
		}
	})
}

// what is the part of the model that survives an agent.
func (m *modelWorld) what() []any {
	var names []string
	for _, u := range m.units {
		names = append(names, u.Name)
	}
	return []any{names, m.leases, m.directories, slices.Sorted(maps.Keys(m.records))}
}

func (m *modelWorld) clone() *modelWorld {
	c := *m
	c.records, c.removed, c.live = maps.Clone(m.records), maps.Clone(m.removed), maps.Clone(m.live)
	c.leases, c.units, c.directories = slices.Clone(m.leases), slices.Clone(m.units), slices.Clone(m.directories)
	return &c
}

// observe is what the agent sees.
func (m *modelWorld) observe() observed {
	w := m.clone().observed
	w.idle = nil
	for _, id := range slices.Sorted(maps.Keys(m.records)) {
		if b := m.records[id]; b.State.Active() && !m.live[id] {
			w.idle = append(w.idle, b)
		}
	}
	return w
}

// follow applies steps to the model, as the agent applies them.
func (m *modelWorld) follow(t *rapid.T, steps []step) {
	for _, s := range steps {
		if s.reason == "" {
			t.Errorf("%+v has no reason", s)
		}
		b := m.records[s.backupID]
		switch s.action {
		case undoBackup, loseBackup:
			b.State = record.Undoing
		case unresolve:
			b.State = record.Unresolved
		case removeUnit:
			m.units = slices.DeleteFunc(m.units, func(u units.Unit) bool { return u.Name == s.unit })
		case returnLease:
			m.leases = slices.DeleteFunc(m.leases, func(l record.Lease) bool { return l.Port == s.lease.Port })
		case removeDirectory:
			m.removeDirectory(s.directory)
		case resumeDeletion:
			m.removeDirectory(directory{path: b.Directory})
			delete(m.records, b.ID)
			m.removed[b.ID] = b.Directory
			continue
		}
		if b.ID != "" {
			m.records[b.ID] = b
			m.live[b.ID] = m.live[b.ID] || b.State.Active()
		}
	}
}

func (m *modelWorld) removeDirectory(gone directory) {
	m.directories = slices.DeleteFunc(m.directories, func(d directory) bool { return d.path == gone.path })
}

// settled fails the test unless the model is as it must be after a plan is applied.
func (m *modelWorld) settled(t *rapid.T, before *modelWorld) {
	for _, s := range plan(m.observe()) {
		if s.action != leaveUnit {
			t.Errorf("still to do: %+v", s)
		}
	}
	for _, l := range m.leases {
		if b := m.records[l.BackupID]; !b.State.Active() || b.ID == "" || !holds(b, l) {
			t.Errorf("lease of no active backup: %+v", l)
		}
	}
	left := map[string]bool{}
	for _, u := range m.units {
		left[u.Name] = true
		if b, known := m.records[export.OwnerOf(u.Name)]; !m.foreign[u.Name] && (!known || !b.State.Active()) {
			t.Errorf("unit %s serves nothing", u.Name)
		}
	}
	for _, d := range m.directories {
		left[d.path] = true
		if b, known := m.records[d.backupID]; !m.foreign[d.path] && (!known || !b.State.Active()) {
			t.Errorf("directory %s is left behind", d.path)
		}
	}
	for _, u := range before.units {
		if b := before.records[export.OwnerOf(u.Name)]; !left[u.Name] && (m.foreign[u.Name] || b.State.Active()) {
			t.Errorf("unit %s was touched: %+v of %+v", u.Name, u, b)
		}
	}
	for _, d := range before.directories {
		if !left[d.path] && m.foreign[d.path] {
			t.Errorf("directory %s was touched", d.path)
		}
	}
	for id, b := range m.records {
		if b.State.Active() && !m.live[id] {
			t.Errorf("nobody moves backup %s along, which is %s", id, b.State)
		}
	}
}

// drawWorld draws a model in which anything may have happened.
func drawWorld(t *rapid.T) *modelWorld {
	m := &modelWorld{
		observed: observed{
			slice: modelSlice, bootID: rapid.SampledFrom([]string{"", "one", "two"}).Draw(t, "boot"),
			records: map[string]record.Backup{}, removed: map[string]string{}, units: []units.Unit{}, directories: []directory{},
		},
		live: map[string]bool{}, foreign: map[string]bool{},
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "backups") {
		m.drawBackup(t, fmt.Sprintf("backup-vm-disk%d-x-%d", i, i), uint16(100*(i+1)))
	}
	m.drawForeign(t)
	return m
}

func pathOf(d directory) string { return "/" + d.repository + "/" + d.vm + "/" + d.backupID }

func (m *modelWorld) drawBackup(t *rapid.T, id string, port uint16) {
	b := record.Backup{
		ID: id, VM: record.VM{Name: "vm " + id}, Repository: modelRepo, BootID: rapid.SampledFrom([]string{"", "one"}).Draw(t, "boot of backup"),
		State: rapid.SampledFrom(record.States).Draw(t, "state"), DirectoryMade: rapid.Bool().Draw(t, "made"),
	}
	b.Directory = pathOf(directory{repository: modelRepo, vm: nbd.DirName(b.VM.Name), backupID: id})
	for disk := range rapid.IntRange(0, 3).Draw(t, "disks") {
		nonce := fmt.Sprintf("%08x", int(port)+disk)
		d := record.DiskRun{DiskID: disk, Port: port + uint16(disk), Unit: export.UnitName(id, disk, nonce)}
		d.InvocationID = rapid.SampledFrom([]string{"", "ours"}).Draw(t, "invocation")
		b.Runs = append(b.Runs, d)
		if b.State.Active() || rapid.IntRange(0, 3).Draw(t, "stray lease") == 0 {
			m.leases = append(m.leases, record.Lease{Port: d.Port, BackupID: id, DiskID: disk, Nonce: nonce})
		}
		m.drawUnit(t, d)
	}
	m.records[id] = b
	m.drawDirectory(t, b)
}

// drawUnit draws a unit whose name is one of ours, or similar.
func (m *modelWorld) drawUnit(t *rapid.T, d record.DiskRun) {
	u := units.Unit{Name: d.Unit, ActiveState: "active", Slice: modelSlice, InvocationID: "ours"}
	foreign := true
	switch rapid.SampledFrom([]string{"none", "ours", "socket", "life", "slice", "nonce"}).Draw(t, "unit") {
	case "none":
		return
	case "ours":
		foreign = false
	case "socket":
		u, foreign = units.Unit{Name: d.Unit, SocketState: "active"}, false
	case "life":
		u.InvocationID, foreign = "theirs", d.InvocationID != ""
	case "slice":
		u.Slice = "system.slice"
	case "nonce":
		u.Name += "0"
	}
	m.units = append(m.units, u)
	m.foreign[u.Name] = foreign
}

func (m *modelWorld) drawDirectory(t *rapid.T, b record.Backup) {
	d := directory{repository: modelRepo, vm: record.DirectoryOf(b), backupID: b.ID, empty: rapid.Bool().Draw(t, "empty")}
	undone := b.State == record.Failed || b.State == record.Cancelled
	foreign := !b.State.Active() && b.State != record.Deleting && (!undone || !b.DirectoryMade && !d.empty)
	switch rapid.SampledFrom([]string{"none", "ours", "repository", "vm"}).Draw(t, "directory") {
	case "none":
		return
	case "repository":
		d.repository, foreign = "other", true
	case "vm":
		d.vm, foreign = "other", true
	}
	d.path = pathOf(d)
	m.directories = append(m.directories, d)
	m.foreign[d.path] = foreign
}

// drawForeign adds units and directories without a record.
func (m *modelWorld) drawForeign(t *rapid.T) {
	if rapid.Bool().Draw(t, "unit of nobody") {
		u := units.Unit{Name: export.UnitName("backup-nobody-1", 0, "00000000"), ActiveState: "active", Slice: modelSlice}
		m.units = append(m.units, u)
		m.foreign[u.Name] = true
	}
	if rapid.Bool().Draw(t, "lease of nobody") {
		m.leases = append(m.leases, record.Lease{Port: 1, BackupID: "backup-nobody-1"})
	}
	for _, name := range []string{"backup-nobody-1", "backup-deleted-1"} {
		if !rapid.Bool().Draw(t, "directory of "+name) {
			continue
		}
		d := directory{repository: modelRepo, vm: "vm", backupID: name}
		d.path = pathOf(d)
		m.directories = append(m.directories, d)
		m.foreign[d.path] = name == "backup-nobody-1"
		if !m.foreign[d.path] {
			m.removed[name] = d.path
		}
	}
}
