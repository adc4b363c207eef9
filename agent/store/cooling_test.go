package store

import (
	"errors"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/rules"
)

// cooled ends a backup of a that cools down for ten minutes from its end.
func cooled(t testing.TB, s *Store) record.Backup {
	t.Helper()
	b := step(t, s, mustPrepare(t, s, vmOf("a", 2), start), record.Exporting, record.Calling, record.Unresolved, record.Undoing)
	_, after, err := s.Update(b.ID, start.Add(time.Minute), func(b *record.Backup) error {
		b.State, b.CooldownUntil = record.Failed, start.Add(11*time.Minute)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return after
}

func TestCooling(t *testing.T) {
	s := openNew(t)
	b := cooled(t, s)
	now, until := b.EndedAt, b.CooldownUntil
	ports, vms, err := s.Cooling(now)
	if err != nil || len(ports) != 2 || len(vms) != 1 {
		t.Fatalf("ports %+v, vms %+v, error %v", ports, vms, err)
	}
	if ports[1] != (query.CoolingPort{Port: 10101, Until: until, BackupID: b.ID}) || vms[0] != (query.CoolingVM{Name: "a", Until: until, BackupID: b.ID}) {
		t.Errorf("ports %+v, vms %+v", ports, vms)
	}
	if n, err := s.Counts(now); err != nil || n != (query.Counts{CoolingPorts: 2, CoolingVMs: 1}) {
		t.Errorf("counts %+v, error %v", n, err)
	}

	var cooling *rules.CoolingError
	_, _, err = s.Prepare(preparation(vmOf("a", 1), until.Add(-1)))
	if !errors.As(err, &cooling) || *cooling != (rules.CoolingError{VM: "a", BackupID: b.ID, Until: until}) {
		t.Errorf("got %v", err)
	}
	p := preparation(vmOf("b", 1), until.Add(-1))
	p.Ports = portsOf(10100, 10101)
	if _, _, err := s.Prepare(p); !errors.Is(err, errNoPort) {
		t.Errorf("a port that cools was given: %v", err)
	}

	if ports, vms, err := s.Cooling(until); len(ports)+len(vms) > 0 || err != nil {
		t.Errorf("at its end: %+v, %+v, %v", ports, vms, err)
	}
	p = preparation(vmOf("a", 2), until)
	p.Ports = portsOf(10100, 10101)
	if _, _, err := s.Prepare(p); err != nil {
		t.Errorf("at its end: %v", err)
	}
}

func TestCoolingThatIsOverBeforeItBegins(t *testing.T) {
	s := openNew(t)
	b := step(t, s, mustPrepare(t, s, vmOf("a", 1), start), record.Undoing)
	_, _, err := s.Update(b.ID, start.Add(time.Hour), func(b *record.Backup) error {
		b.State, b.CooldownUntil = record.Failed, start.Add(time.Minute)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if ports, vms, err := s.Cooling(start); len(ports)+len(vms) > 0 || err != nil {
		t.Errorf("%+v, %+v, %v", ports, vms, err)
	}
}

// TestCoolingPutOff: while a VM cools down from a backup, that may take longer; once it is over, or another backup has its own, the VM
// and the ports may be in use again.
func TestCoolingPutOff(t *testing.T) {
	s := openNew(t)
	b := cooled(t, s)
	put := func(now, until time.Time) error {
		_, _, err := s.Update(b.ID, now, func(b *record.Backup) error {
			b.CooldownUntil = until
			return nil
		})
		return err
	}
	later := b.CooldownUntil.Add(time.Hour)
	if err := put(b.CooldownUntil.Add(-time.Second), later); err != nil {
		t.Fatal(err)
	}
	ports, vms, err := s.Cooling(b.CooldownUntil)
	if err != nil || len(ports) != len(b.Runs) || len(vms) != 1 || !vms[0].Until.Equal(later) || !ports[0].Until.Equal(later) {
		t.Errorf("%+v, %+v, %v", ports, vms, err)
	}
	var cooling *rules.CoolingError
	if _, _, err := s.Prepare(preparation(vmOf("a", 1), later.Add(-1))); !errors.As(err, &cooling) {
		t.Errorf("before its new end the VM is backed up: %v", err)
	}
	if err := put(later, later.Add(time.Hour)); err == nil {
		t.Error("a cool-down that is over was put off")
	}
	mustPrepare(t, s, vmOf("a", 1), later)
	if err := put(later.Add(time.Second), later.Add(time.Hour)); err == nil {
		t.Error("a VM that is being backed up cools down")
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCoolingBroughtForward(t *testing.T) {
	for name, to := range map[string]time.Time{"ended": {}, "shorter": start.Add(2 * time.Minute)} {
		t.Run(name, func(t *testing.T) {
			s := openNew(t)
			b := cooled(t, s)
			set := func(until time.Time) error {
				_, _, err := s.Update(b.ID, start.Add(time.Minute), func(b *record.Backup) error {
					b.CooldownUntil = until
					return nil
				})
				return err
			}
			if err := set(to); err != nil {
				t.Fatal(err)
			}
			_, vms, err := s.Cooling(start)
			if err != nil || len(vms) > 0 != !to.IsZero() || (len(vms) > 0 && !vms[0].Until.Equal(to)) {
				t.Errorf("%+v, %v", vms, err)
			}
			mustPrepare(t, s, vmOf("a", 1), start.Add(2*time.Minute))
		})
	}
}

// A second record of the same VM, as the inventory path tells, does not get around it.
func TestCoolingUnderAnotherName(t *testing.T) {
	s := openNew(t)
	vm := vmOf("a", 1)
	vm.VCenter, vm.InventoryPath = "vc", "/DC/vm/a"
	b := step(t, s, mustPrepare(t, s, vm, start), record.Exporting, record.Calling, record.Undoing)
	until := start.Add(10 * time.Minute)
	if _, _, err := s.Update(b.ID, start.Add(time.Minute), func(b *record.Backup) error {
		b.State, b.CooldownUntil = record.Failed, until
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, vcenter, path string
		cools               bool
	}{
		{"b", "vc", "/DC/vm/a", true},
		{"c", "vc", "/DC/vm//a/", true},
		{"d", "vc2", "/DC/vm/a", false},
		{"e", "vc", "/DC/vm/b", false},
		{"f", "", "", false},
	} {
		other := vmOf(tt.name, 1)
		other.VCenter, other.InventoryPath = tt.vcenter, tt.path
		_, _, err := s.Prepare(preparation(other, until.Add(-1)))
		var cooling *rules.CoolingError
		if errors.As(err, &cooling) != tt.cools || tt.cools && cooling.VM != "a" || !tt.cools && err != nil {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	vm.Name = "g"
	mustPrepare(t, s, vm, until)
}

// TestLimitCooling: after the clock was set back, what cools down does so no longer than it would have from now.
func TestLimitCooling(t *testing.T) {
	s := openNew(t)
	b := cooled(t, s)
	if err := s.LimitCooling(b.EndedAt, 10*time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, vms, err := s.Cooling(b.EndedAt); err != nil || len(vms) != 1 || !vms[0].Until.Equal(b.CooldownUntil) {
		t.Errorf("with a sound clock: %+v, %v", vms, err)
	}
	back := b.EndedAt.Add(-24 * time.Hour)
	for range 2 {
		if err := s.LimitCooling(back, 10*time.Minute); err != nil {
			t.Fatal(err)
		}
		until := back.Add(10 * time.Minute)
		ports, vms, err := s.Cooling(back)
		if err != nil || len(vms) != 1 || len(ports) != 2 || !vms[0].Until.Equal(until) || !ports[1].Until.Equal(until) || vms[0].BackupID != b.ID {
			t.Errorf("set back: %+v, %+v, %v", vms, ports, err)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
