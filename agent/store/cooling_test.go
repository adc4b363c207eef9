package store

import (
	"errors"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/backup"
)

// cooled ends a backup of a that cools down for ten minutes from its end.
func cooled(t *testing.T, s *Store) backup.Backup {
	t.Helper()
	b := step(t, s, mustPrepare(t, s, vmOf("a", 2), start), backup.Exporting, backup.Calling, backup.Unresolved, backup.Undoing)
	_, after, err := s.Update(b.ID, start.Add(time.Minute), func(b *backup.Backup) error {
		b.State, b.CooldownUntil = backup.Failed, start.Add(11*time.Minute)
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
	if ports[1] != (CoolingPort{Port: 10101, Until: until, BackupID: b.ID}) || vms[0] != (CoolingVM{Name: "a", Until: until, BackupID: b.ID}) {
		t.Errorf("ports %+v, vms %+v", ports, vms)
	}
	if n, err := s.Counts(now); err != nil || n != (Counts{CoolingPorts: 2, CoolingVMs: 1}) {
		t.Errorf("counts %+v, error %v", n, err)
	}

	var cooling *CoolingError
	_, _, err = s.Prepare(preparation(vmOf("a", 1), until.Add(-1)))
	if !errors.As(err, &cooling) || *cooling != (CoolingError{VM: "a", BackupID: b.ID, Until: until}) {
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
	b := step(t, s, mustPrepare(t, s, vmOf("a", 1), start), backup.Undoing)
	_, _, err := s.Update(b.ID, start.Add(time.Hour), func(b *backup.Backup) error {
		b.State, b.CooldownUntil = backup.Failed, start.Add(time.Minute)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if ports, vms, err := s.Cooling(start); len(ports)+len(vms) > 0 || err != nil {
		t.Errorf("%+v, %+v, %v", ports, vms, err)
	}
}

func TestCoolingBroughtForward(t *testing.T) {
	for name, to := range map[string]time.Time{"ended": {}, "shorter": start.Add(2 * time.Minute)} {
		t.Run(name, func(t *testing.T) {
			s := openNew(t)
			b := cooled(t, s)
			set := func(until time.Time) error {
				_, _, err := s.Update(b.ID, start.Add(time.Minute), func(b *backup.Backup) error {
					b.CooldownUntil = until
					return nil
				})
				return err
			}
			if err := set(b.CooldownUntil.Add(1)); err == nil {
				t.Error("an ended backup's cooling was made longer")
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
