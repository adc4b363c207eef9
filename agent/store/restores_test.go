package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// restoration is what a caller would ask for: every disk of a restore point.
func restoration(point record.Backup, now time.Time) RestorePreparation {
	r := record.Restore{
		BackupID: point.ID, VMName: point.VM.Name, Repository: point.Repository, ExpiresAt: now.Add(time.Hour), LatestAt: now.Add(time.Hour),
	}
	for _, run := range point.Runs {
		r.Disks = append(r.Disks, record.RestoreDisk{DiskID: run.DiskID, Key: run.Key, CapacityBytes: run.CapacityBytes})
	}
	return RestorePreparation{
		Restore: r, Now: now, Limit: 3,
		ID:    func(unix int64) string { return fmt.Sprintf("restore-%s-%d", point.VM.Name, unix) },
		Ports: portsOf(10100, 10200),
		Complete: func(r *record.Restore, leases []record.Lease) {
			for _, l := range leases {
				r.Disk(l.DiskID).Unit = unitOf(r.ID, l)
			}
		},
	}
}

func mustRestore(t testing.TB, s *Store, point record.Backup, now time.Time) record.Restore {
	t.Helper()
	r, err := s.PrepareRestore(restoration(point, now))
	must(t, err)
	return r
}

func stepRestore(t testing.TB, s *Store, r record.Restore, states ...record.RestoreState) record.Restore {
	t.Helper()
	for _, state := range states {
		_, after, err := s.UpdateRestore(r.ID, r.UpdatedAt.Add(time.Second), func(r *record.Restore) error {
			r.State = state
			return nil
		})
		must(t, err)
		r = after
	}
	return r
}

var toRestoreEnded = []record.RestoreState{record.RestoreStopping, record.RestoreEnded}

// chainOf makes a full backup and incrementals, the newest last.
func chainOf(t testing.TB, s *Store, n int) []record.Backup {
	t.Helper()
	points := []record.Backup{step(t, s, mustPrepare(t, s, vmOf("a", 2), start), toCompleted...)}
	for i := 1; i < n; i++ {
		b, _, err := s.Prepare(incremental(vmOf("a", 2), points[i-1].ID, start.AddDate(0, 0, i)))
		must(t, err)
		points = append(points, step(t, s, b, toCompleted...))
	}
	return points
}

// TestRestorePins: what a restore reads cannot be deleted before it has ended; its ports are its own until then.
func TestRestorePins(t *testing.T) {
	s := openNew(t)
	chain := chainOf(t, s, 3)
	r := mustRestore(t, s, chain[1], start)
	if want := []string{chain[1].ID, chain[0].ID}; !slices.Equal(r.Points, want) || r.State != record.RestorePreparing {
		t.Errorf("got %+v, want the points %v", r, want)
	}
	leases, err := s.Leases()
	if err != nil || len(leases) != 2 || leases[0].Owner() != r.ID || leases[0].BackupID != "" {
		t.Errorf("leases %+v, error %v", leases, err)
	}
	if n, err := s.Counts(start); err != nil || n != (query.Counts{Restores: 1, Leases: 2}) {
		t.Errorf("counts %+v, error %v", n, err)
	}
	step(t, s, chain[2], record.Deleting) // nobody reads that
	must(t, s.RemoveBackup(chain[2].ID, start))
	_, _, err = s.Update(chain[1].ID, start, setState(record.Deleting))
	var served *rules.ServedError
	if !errors.As(err, &served) || *served != (rules.ServedError{BackupID: chain[1].ID, RestoreID: r.ID}) {
		t.Errorf("got %v", err)
	}
	if _, _, err = s.Update(chain[0].ID, start, setState(record.Deleting)); !errors.As(err, &served) {
		t.Errorf("got %v", err)
	}
	ended := stepRestore(t, s, r, toRestoreEnded...)
	if !ended.EndedAt.Equal(r.UpdatedAt.Add(2 * time.Second)) {
		t.Errorf("ended at %s", ended.EndedAt)
	}
	if leases, err := s.Leases(); err != nil || len(leases) != 0 {
		t.Errorf("leases %+v, error %v", leases, err)
	}
	step(t, s, chain[1], record.Deleting)
	stored, err := s.Restore(r.ID)
	must(t, err)
	if diff := cmp.Diff(ended, stored); diff != "" {
		t.Error(diff)
	}
}

func TestRestoreRefused(t *testing.T) {
	s := openNew(t)
	point := chainOf(t, s, 1)[0]
	failed := fail(t, s, mustPrepare(t, s, vmOf("b", 1), start))
	var state *rules.StateError
	if _, err := s.PrepareRestore(restoration(failed, start)); !errors.As(err, &state) || state.State != record.Failed {
		t.Errorf("of a failed backup: %v", err)
	}
	var missing *schema.NotFoundError
	if _, err := s.PrepareRestore(restoration(record.Backup{ID: "backup-x-1", Runs: point.Runs}, start)); !errors.As(err, &missing) {
		t.Errorf("of nothing: %v", err)
	}
	if _, err := s.Restore("restore-a-1"); !errors.As(err, &missing) || missing.Kind != schema.KindRestore {
		t.Errorf("got %v", err)
	}
	p := restoration(point, start)
	p.Complete = func(*record.Restore, []record.Lease) {}
	if _, err := s.PrepareRestore(p); err == nil {
		t.Error("units without nonces were taken")
	}
	p = restoration(point, start)
	p.Ports = portsOf(10100, 10100)
	if _, err := s.PrepareRestore(p); !errors.Is(err, errNoPort) {
		t.Errorf("got %v", err)
	}
	ids := map[string]bool{}
	for range 3 {
		ids[mustRestore(t, s, point, start).ID] = true
	}
	var full *RestoresError
	if _, err := s.PrepareRestore(restoration(point, start)); !errors.As(err, &full) || len(ids) != 3 {
		t.Errorf("%v, ids %v", err, ids)
	}
}

// TestRestoreIsHeldToWhatItMayChange: what leases and pins depend on never changes, and no other transitions are possible.
func TestRestoreIsHeldToWhatItMayChange(t *testing.T) {
	s := openNew(t)
	r := mustRestore(t, s, chainOf(t, s, 1)[0], start)
	for name, change := range map[string]func(*record.Restore){
		"points": func(r *record.Restore) { r.Points = nil },
		"port":   func(r *record.Restore) { r.Disks[0].Port++ },
		"unit":   func(r *record.Restore) { r.Disks[0].Unit = "u" },
		"disks":  func(r *record.Restore) { r.Disks = r.Disks[:1] },
		"state":  func(r *record.Restore) { r.State = record.RestoreEnded },
	} {
		_, _, err := s.UpdateRestore(r.ID, start, func(r *record.Restore) error {
			change(r)
			return nil
		})
		if err == nil {
			t.Errorf("%s: changed", name)
		}
	}
	relet, err := newRestorePort(s, r.ID, 1, portsOf(10100, 10200), start, func(r *record.Restore, l record.Lease) {
		r.Disk(l.DiskID).Unit = unitOf(r.ID, l)
	})
	must(t, err)
	if relet.Disks[1].Port == r.Disks[1].Port || relet.Disks[0] != r.Disks[0] || relet.Disks[1].Unit == r.Disks[1].Unit {
		t.Errorf("got %+v after %+v", relet.Disks, r.Disks)
	}
	stepRestore(t, s, relet, record.RestoreExporting, record.RestoreServing)
	if _, err := newRestorePort(s, r.ID, 1, portsOf(10100, 10200), start, nil); err == nil {
		t.Error("the port of an export that is served was exchanged")
	}
}

// TestEndedRestoresAreForgotten: the record does not grow for ever, and forgets none whose overlays are there.
func TestEndedRestoresAreForgotten(t *testing.T) {
	s := openNew(t)
	point := chainOf(t, s, 1)[0]
	first := mustRestore(t, s, point, start)
	_, _, err := s.UpdateRestore(first.ID, start, func(r *record.Restore) error {
		r.ScratchMade = true
		return nil
	})
	must(t, err)
	stepRestore(t, s, first, toRestoreEnded...)
	for range endedRestores + 5 {
		stepRestore(t, s, mustRestore(t, s, point, start), toRestoreEnded...)
	}
	active := mustRestore(t, s, point, start.Add(time.Hour))
	list, err := s.Restores()
	if err != nil || len(list) != endedRestores+2 || list[0].ID != active.ID {
		t.Errorf("%d restores, error %v", len(list), err)
	}
	if _, err := s.Restore(first.ID); err != nil {
		t.Error(err)
	}
}
