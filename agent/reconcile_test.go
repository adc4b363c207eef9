package agent_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/units"
	"github.com/sendense/backup-agent/units/pair"
)

// TestOrphans: an exporter whose backup has ended is removed when the agent comes back. A unit of somebody else that looks
// like one of ours survives.
func TestOrphans(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20)
	w.sna.Hold("copy/0")
	b := w.startBackup("vm")
	foreign := "sendense-nbd-backup-somebody-1-disk0-00000000"
	_, err := w.units.Start(t.Context(), pair.Spec{
		Name: foreign, Argv: []string{"/bin/sh", "-c", "sleep 600 & exit 0"}, ListenAddress: "127.0.0.1:20000",
	})
	must(t, err)
	w.stop()
	w.endOnRecord(b.ID)
	w.start()
	orphan := b.Runs[0].Unit
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := w.units.Get(t.Context(), orphan); errors.Is(err, units.ErrNotFound) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("orphan %s is still there", orphan)
		}
	}
	w.eventually("it is counted", func() bool { return w.scrape()[`sendense_agent_orphan_units_removed_total`] == 1 })
	w.wantSeries(w.scrape(), series{`sendense_agent_orphan_units`: 1}) // the one of somebody else
	if u, err := w.units.Get(t.Context(), foreign); err != nil || !u.Running() {
		t.Errorf("the unit of somebody else is %s/%s: %v", u.ActiveState, u.SubState, err)
	}
	must(t, w.units.Remove(t.Context(), foreign))
	w.sna.Release("copy/0")
	repo := filepath.Dir(filepath.Dir(b.Directory))
	w.removeAll(filepath.Join(repo, "vm"))
}

// TestUnitComesBack: a unit of a backup that has ended is removed as soon as the bus tells that it is there, each time. The
// first time the agent may look by itself, since a backup has just ended; there is nothing but the bus to tell it later.
func TestUnitComesBack(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.NBD.QemuImg = "/bin/false" })
	w.putVM("vm", 8<<20)
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	if err == nil {
		t.Fatal("no image could be made, and the start succeeded")
	}
	list, _, err := w.agent.Backups(agent.ListQuery{VMName: "vm"})
	must(t, err)
	spec := pair.Spec{
		Name: list[0].Runs[0].Unit, Argv: []string{"/bin/sh", "-c", "sleep 600 & exit 0"}, ListenAddress: "127.0.0.1:20000",
	}
	for range 3 {
		_, err := w.units.Start(t.Context(), spec)
		var start *units.StartError
		removed := errors.As(err, &start) && start.JobResult == "canceled" || errors.Is(err, units.ErrNotFound)
		if err != nil && !removed { // while it started, that is
			t.Fatal(err)
		}
		w.eventually("the unit is removed again", func() bool {
			_, err := w.units.Get(t.Context(), spec.Name)
			return errors.Is(err, units.ErrNotFound)
		})
	}
}

// TestUnitOfTheSameName: while the agent is down somebody takes an exporter away and starts a unit of his own under its name. The
// backup fails, and the unit survives that too.
func TestUnitOfTheSameName(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20, 8<<20)
	w.sna.Hold("copy/0")
	b := w.startBackup("vm")
	w.stop()
	name := b.Runs[1].Unit
	bus, err := units.Open(t.Context(), units.Options{Slice: w.config.Agent.Slice})
	must(t, err)
	must(t, errors.Join(bus.Remove(t.Context(), name), bus.Close()))
	out, err := exec.Command("systemd-run", "--quiet", "--collect", "--slice="+w.config.Agent.Slice, "--unit="+name, "sleep", "600").CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-run: %v: %s", err, out)
	}
	w.start()
	if b = w.wait(b.ID); b.State != record.Failed || !strings.Contains(b.Failure.Message, "another one by now") {
		t.Errorf("it is %s: %+v", b.State, b.Failure)
	}
	u, err := w.units.Get(t.Context(), name)
	if err != nil || !u.Running() {
		t.Errorf("the unit of somebody else is %s/%s: %v", u.ActiveState, u.SubState, err)
	}
	w.sna.Release("copy/0")
	must(t, w.units.Remove(t.Context(), name))
}

// TestStrayLease: a lease that no backup has is given back.
func TestStrayLease(t *testing.T) {
	w := newWorld(t)
	w.stop()
	db, err := bolt.Open(filepath.Join(w.config.Agent.StateDirectory, "agent.db"), 0o600, nil)
	must(t, err)
	must(t, db.Update(func(t *bolt.Tx) error {
		return t.Bucket([]byte("leases")).Put([]byte{0x4e, 0x20}, []byte(`{"port":20000,"backup_id":"backup-nobody-1","nonce":"00000000"}`))
	}))
	must(t, db.Close())
	w.start()
	w.eventually("the lease is given back", func() bool {
		leases, err := w.store.Leases()
		must(t, err)
		return len(leases) == 0
	})
}

// endOnRecord makes a backup failed in the database of an agent that is stopped, as if it had died half way.
func (w *world) endOnRecord(id string) {
	w.Helper()
	s, err := store.Open(filepath.Join(w.config.Agent.StateDirectory, "agent.db"), store.Options{})
	must(w.TB, err)
	for _, state := range []record.State{record.Undoing, record.Failed} {
		_, _, err := s.Update(id, time.Now(), func(b *record.Backup) error {
			b.State, b.Failure = state, &record.Failure{Reason: "test", Message: "ended on record"}
			return nil
		})
		must(w.TB, err)
	}
	must(w.TB, s.Close())
}
