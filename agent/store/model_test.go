package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// The ports of the model: few, so that they run out.
const (
	modelFirst = 7
	modelLast  = 14
)

// A model is what the store should hold, as simply as it can be said.
type model struct {
	store    *Store
	now      time.Time
	cursor   uint16
	records  map[string]record.Backup
	used     map[string]bool // every id that was ever given
	requests map[string]string
	ports    map[uint16]time.Time // until when they cool down
	vms      map[string]time.Time
}

// Random sequences of everything that leases, against the model.
func TestModel(t *testing.T) {
	directory := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		f, err := os.MkdirTemp(directory, "")
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(filepath.Join(f, "agent.db"), Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		m := &model{
			store: s, now: start, records: map[string]record.Backup{}, used: map[string]bool{},
			requests: map[string]string{}, ports: map[uint16]time.Time{}, vms: map[string]time.Time{},
		}
		t.Repeat(map[string]func(*rapid.T){
			"prepare": m.prepare, "prepare more": m.prepare, "relet": m.relet, "move": m.move, "move more": m.move,
			"move on": m.move, "dequeue": m.dequeue, "refuse": m.refuse, "remove": m.remove, "verify": m.verify, "wait": m.wait, "": m.compare,
		})
		if err := s.Check(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

func (m *model) activeOf(vm string) (record.Backup, bool) {
	for _, b := range m.records {
		if b.VM.Name == vm && b.State.Active() {
			return b, true
		}
	}
	return record.Backup{}, false
}

func (m *model) leased() map[uint16]string {
	leases := map[uint16]string{}
	for _, b := range m.records {
		for _, r := range b.Runs {
			if b.State.Active() {
				leases[r.Port] = fmt.Sprint(b.ID, "/", r.DiskID)
			}
		}
	}
	return leases
}

// expectPorts says which ports come next in rotation; nil when there are too few.
func (m *model) expectPorts(n int) []uint16 {
	leased := m.leased()
	var ports []uint16
	port := m.cursor
	for range modelLast - modelFirst + 1 {
		if port++; port < modelFirst || port > modelLast {
			port = modelFirst
		}
		if leased[port] == "" && !m.ports[port].After(m.now) {
			ports = append(ports, port)
		}
	}
	if len(ports) < n {
		return nil
	}
	return ports[:n]
}

func portsOfRuns(b record.Backup) []uint16 {
	var ports []uint16
	for _, r := range b.Runs {
		ports = append(ports, r.Port)
	}
	return ports
}

func (m *model) prepare(t *rapid.T) {
	name := rapid.SampledFrom([]string{"a", "b", "a/b", "ü"}).Draw(t, "vm")
	p := preparation(vmOf(name, rapid.IntRange(1, 3).Draw(t, "disks")), m.now)
	p.Ports = portsOf(modelFirst, modelLast)
	p.Backup.RequestID = rapid.SampledFrom([]string{"", "", "r1", "r2", "r3"}).Draw(t, "request")
	queue := rapid.IntRange(0, 3).Draw(t, "queue") == 0
	add := m.store.Prepare
	if queue {
		add = m.store.Enqueue
	}
	b, existing, err := add(p)

	var (
		mismatch *RequestMismatchError
		active   *rules.ActiveError
		cooling  *rules.CoolingError
	)
	first, repeated := m.records[m.requests[p.Backup.RequestID]]
	running, busy := m.activeOf(name)
	ports := m.expectPorts(len(p.Backup.VM.Disks))
	switch {
	case repeated && first.VM.Name != name:
		m.want(t, errors.As(err, &mismatch) && mismatch.BackupID == first.ID, "a mismatch", err)
	case repeated:
		m.want(t, err == nil && existing && b.ID == first.ID, "the first backup", err)
	case busy:
		m.want(t, errors.As(err, &active) && active.BackupID == running.ID, "active", err)
	case m.vms[name].After(m.now):
		m.want(t, errors.As(err, &cooling) && cooling.Until.Equal(m.vms[name]), "cooling", err)
	case queue:
		m.want(t, err == nil && !existing && !m.used[b.ID] && len(b.Runs) == 0, "queued", err)
		m.added(b)
	case ports == nil:
		m.want(t, errors.Is(err, errNoPort), "no port", err)
	default:
		m.want(t, err == nil && !existing && !m.used[b.ID] && slices.Equal(portsOfRuns(b), ports), fmt.Sprint("ports ", ports), err)
		m.cursor = ports[len(ports)-1]
		m.added(b)
	}
}

func (m *model) added(b record.Backup) {
	m.records[b.ID], m.used[b.ID] = b, true
	if b.RequestID != "" {
		m.requests[b.RequestID] = b.ID
	}
}

func (m *model) dequeue(t *rapid.T) {
	next := m.pick(t)
	if next.State != record.Queued {
		t.Skip("not queued")
	}
	p := preparation(next.VM, m.now)
	b, err := dequeue(m.store, next.ID, m.now, portsOf(modelFirst, modelLast), p.Complete)
	ports := m.expectPorts(len(next.VM.Disks))
	if ports == nil {
		m.want(t, errors.Is(err, errNoPort), "no port", err)
		return
	}
	m.want(t, err == nil && slices.Equal(portsOfRuns(b), ports), fmt.Sprint("ports ", ports), err)
	m.records[b.ID], m.cursor = b, ports[len(ports)-1]
}

func (m *model) want(t *rapid.T, ok bool, what string, err error) {
	if !ok {
		t.Fatalf("want %s, error %v", what, err)
	}
}

// pick is a record of the model; without one the step is skipped.
func (m *model) pick(t *rapid.T) record.Backup {
	if len(m.records) == 0 {
		t.Skip("no records")
	}
	return m.records[rapid.SampledFrom(slices.Sorted(maps.Keys(m.records))).Draw(t, "backup")]
}

func (m *model) relet(t *rapid.T) {
	b := m.pick(t)
	if len(b.Runs) == 0 {
		t.Skip("queued, or ended in the queue")
	}
	disk := rapid.SampledFrom(b.Runs).Draw(t, "disk")
	after, err := newPort(m.store, b.ID, disk.DiskID, portsOf(modelFirst, modelLast), m.now, rename)
	var state *rules.StateError
	ports := m.expectPorts(1)
	switch {
	case b.State != record.Preparing && b.State != record.Exporting:
		m.want(t, errors.As(err, &state), "a wrong state", err)
	case ports == nil:
		m.want(t, errors.Is(err, errNoPort), "no port", err)
	default:
		run := after.Run(disk.DiskID)
		m.want(t, err == nil && run.Port == ports[0] && run.Unit != disk.Unit, fmt.Sprint("ports ", ports), err)
		m.records[b.ID], m.cursor = after, ports[0]
	}
}

func (m *model) move(t *rapid.T) {
	b := m.pick(t)
	to := rapid.SampledFrom(record.States).Draw(t, "state")
	var cooldown time.Time
	if to == record.Failed && rapid.Bool().Draw(t, "cool") {
		cooldown = m.now.Add(time.Duration(rapid.IntRange(-1, 5).Draw(t, "minutes")) * time.Minute)
	}
	_, after, err := m.store.Update(b.ID, m.now, func(b *record.Backup) error {
		if b.State != to && b.State.Active() {
			b.CooldownUntil = cooldown
		}
		b.State = to
		return nil
	})
	skips := b.State == record.Queued && to == record.Preparing // that is Dequeue's
	allowed := to == b.State || (record.CheckTransition(b.State, to) == nil && !skips)
	if allowed != (err == nil) {
		t.Fatalf("%s to %s: %v", b.State, to, err)
	}
	if err != nil {
		return
	}
	m.records[b.ID] = after
	if b.State.Active() && to.Terminal() && cooldown.After(m.now) {
		m.vms[b.VM.Name] = cooldown
		for _, port := range portsOfRuns(b) {
			m.ports[port] = cooldown
		}
	}
}

// refuse has the caller change its mind inside the transaction.
func (m *model) refuse(t *rapid.T) {
	b := m.pick(t)
	own := errors.New("own")
	_, _, err := m.store.Update(b.ID, m.now, func(b *record.Backup) error {
		b.State, b.Runs = record.Failed, nil
		return own
	})
	m.want(t, err == own, "the caller's error", err)
}

func (m *model) remove(t *rapid.T) {
	b := m.pick(t)
	err := m.store.RemoveBackup(b.ID, m.now)
	m.want(t, (err == nil) == (b.State == record.Deleting), "only deleted ones to go", err)
	if err == nil {
		delete(m.records, b.ID)
		delete(m.requests, b.RequestID)
	}
}

func (m *model) verify(t *rapid.T) {
	b := m.pick(t)
	v := record.Verification{At: schema.Stored(m.now)}
	if rapid.Bool().Draw(t, "damaged") {
		v.Damage = []record.FileDamage{{File: "x", Problem: "gone"}}
	}
	after, err := putVerification(m.store, b.ID, m.now, &v)
	m.want(t, err == nil && (after.Verified == nil || b.State == record.Completed), "only restore points to be verified", err)
	m.records[b.ID] = after
}

func (m *model) wait(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "seconds")) * time.Second)
}

// compare holds everything that can be read against the model.
func (m *model) compare(t *rapid.T) {
	leases, err := m.store.Leases()
	m.want(t, err == nil, "leases", err)
	got := map[uint16]string{}
	for _, l := range leases {
		got[l.Port] = fmt.Sprint(l.BackupID, "/", l.DiskID)
	}
	if diff := cmp.Diff(m.leased(), got); diff != "" {
		t.Fatalf("leases: %s", diff)
	}
	list, next, err := m.store.Backups(query.Query{Limit: query.MaxPage})
	m.want(t, err == nil && next == "" && len(list) == len(m.records), "every record", err)
	for _, b := range list {
		if diff := cmp.Diff(m.records[b.ID], b); diff != "" {
			t.Fatalf("backup %s: %s", b.ID, diff)
		}
	}
	m.compareActive(t)
	m.compareCooling(t)
}

func (m *model) compareActive(t *rapid.T) {
	active, err := m.store.Active()
	m.want(t, err == nil, "active backups", err)
	seen := map[string]bool{}
	for _, b := range active {
		m.want(t, !seen[b.VM.Name], "one active backup per VM", nil)
		seen[b.VM.Name] = true
	}
	for _, b := range m.records {
		m.want(t, !b.State.Active() || seen[b.VM.Name], "every active backup", nil)
	}
}

func (m *model) compareCooling(t *rapid.T) {
	ports, vms, err := m.store.Cooling(m.now)
	m.want(t, err == nil, "cooling", err)
	got := map[any]time.Time{}
	for _, p := range ports {
		got[p.Port] = p.Until
	}
	for _, vm := range vms {
		got[vm.Name] = vm.Until
	}
	want := map[any]time.Time{}
	for port, until := range m.ports {
		if until.After(m.now) {
			want[port] = until
		}
	}
	for vm, until := range m.vms {
		if until.After(m.now) {
			want[vm] = until
		}
	}
	if !maps.EqualFunc(want, got, time.Time.Equal) {
		t.Fatalf("cooling: %v, want %v", got, want)
	}
}
