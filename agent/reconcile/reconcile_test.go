package reconcile_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/ledger"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/units"
	"github.com/sendense/backup-agent/units/pair"
)

// TestOrphans: an exporter whose backup has ended is removed when the agent is back. A foreign unit that looks like one of ours
// survives.
func TestOrphans(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20)
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	foreign := "sendense-nbd-backup-somebody-1-disk0-00000000"
	_, err := w.Units.Start(t.Context(), pair.Spec{
		Name: foreign, Argv: []string{"/bin/sh", "-c", "sleep 600 & exit 0"}, ListenAddress: "127.0.0.1:20000",
	})
	agenttest.Must(t, err)
	w.Stop()
	w.EndOnRecord(b.ID)
	w.Start()
	orphan := b.Runs[0].Unit
	w.Eventually("orphan "+orphan+" is removed", func() bool {
		_, err := w.Units.Get(t.Context(), orphan)
		return errors.Is(err, units.ErrNotFound)
	})
	w.Eventually("it is counted", func() bool { return w.Scrape()[`sendense_agent_orphan_units_removed_total`] == 1 })
	w.WantSeries(w.Scrape(), agenttest.Series{`sendense_agent_orphan_units`: 1}) // the foreign one
	if u, err := w.Units.Get(t.Context(), foreign); err != nil || !u.Running() {
		t.Errorf("the unit of somebody else is %s/%s: %v", u.ActiveState, u.SubState, err)
	}
	agenttest.Must(t, w.Units.Remove(t.Context(), foreign))
	w.SNA.Release("copy/0")
	repo := filepath.Dir(filepath.Dir(b.Directory))
	w.RemoveAll(filepath.Join(repo, "vm"))
}

// TestUnitComesBack: a unit of a backup that has ended is removed as soon as the bus reports it, each time. The first time the agent
// may look without an event, because a backup has just ended. Later only the bus reports the unit.
func TestUnitComesBack(t *testing.T) {
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.NBD.QemuImg = "/bin/false" })
	w.PutVM("vm", 8<<20)
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	if err == nil {
		t.Fatal("no image could be made, and the start succeeded")
	}
	list, _, err := w.Agent.Records.List(ledger.ListQuery{VMName: "vm"})
	agenttest.Must(t, err)
	spec := pair.Spec{
		Name: list[0].Runs[0].Unit, Argv: []string{"/bin/sh", "-c", "sleep 600 & exit 0"}, ListenAddress: "127.0.0.1:20000",
	}
	for range 3 {
		_, err := w.Units.Start(t.Context(), spec)
		var start *units.StartError
		removed := errors.As(err, &start) && start.JobResult == "canceled" || errors.Is(err, units.ErrNotFound)
		if err != nil && !removed { // a removal while it starts is fine
			t.Fatal(err)
		}
		w.Eventually("the unit is removed again", func() bool {
			_, err := w.Units.Get(t.Context(), spec.Name)
			return errors.Is(err, units.ErrNotFound)
		})
	}
}

// TestUnitOfTheSameName: while the agent is down, an exporter is removed and a foreign unit is started under its name. The backup fails,
// and the foreign unit survives.
func TestUnitOfTheSameName(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20, 8<<20)
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	w.Stop()
	name := b.Runs[1].Unit
	bus, err := units.Open(t.Context(), units.Options{Slice: w.Config.Agent.Slice})
	agenttest.Must(t, err)
	agenttest.Must(t, errors.Join(bus.Remove(t.Context(), name), bus.Close()))
	out, err := exec.Command("systemd-run", "--quiet", "--collect", "--slice="+w.Config.Agent.Slice, "--unit="+name, "sleep", "600").CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-run: %v: %s", err, out)
	}
	w.Start()
	if b = w.Wait(b.ID); b.State != record.Failed || !strings.Contains(b.Failure.Message, "was replaced") {
		t.Errorf("it is %s: %+v", b.State, b.Failure)
	}
	u, err := w.Units.Get(t.Context(), name)
	if err != nil || !u.Running() {
		t.Errorf("the unit of somebody else is %s/%s: %v", u.ActiveState, u.SubState, err)
	}
	w.SNA.Release("copy/0")
	agenttest.Must(t, w.Units.Remove(t.Context(), name))
}

// TestStrayLease: a lease that no backup has is returned.
func TestStrayLease(t *testing.T) {
	w := agenttest.New(t)
	w.Stop()
	db, err := bolt.Open(filepath.Join(w.Config.Agent.StateDirectory, "agent.db"), 0o600, nil)
	agenttest.Must(t, err)
	agenttest.Must(t, db.Update(func(t *bolt.Tx) error {
		return t.Bucket([]byte("leases")).Put([]byte{0x4e, 0x20}, []byte(`{"port":20000,"backup_id":"backup-nobody-1","nonce":"00000000"}`))
	}))
	agenttest.Must(t, db.Close())
	w.Start()
	w.Eventually("the lease is given back", func() bool {
		leases, err := w.Store.Leases()
		agenttest.Must(t, err)
		return len(leases) == 0
	})
}
