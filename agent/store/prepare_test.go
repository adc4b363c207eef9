package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/rules"
)

func TestPrepare(t *testing.T) {
	s := openNew(t)
	p := preparation(vmOf("a", 2), start)
	p.Backup.Tags = map[string]string{"k": "v"}
	p.Backup.State, p.Backup.ID, p.Backup.SNAPID = record.Completed, "mine", 7 // overwritten
	b, existing, err := s.Prepare(p)
	if err != nil || existing {
		t.Fatalf("existing %v, error %v", existing, err)
	}
	if b.ID != fmt.Sprintf("backup-a-%d", start.Unix()) || b.State != record.Preparing || b.SNAPID != 0 ||
		!b.CreatedAt.Equal(start) || !b.UpdatedAt.Equal(start) {
		t.Errorf("got %+v", b)
	}
	stored, err := s.Backup(b.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, stored); diff != "" {
		t.Error(diff)
	}
	leases, err := s.Leases()
	if err != nil || len(leases) != 2 {
		t.Fatalf("leases %+v, error %v", leases, err)
	}
	for i, l := range leases {
		if l.Port != 10100+uint16(i) || l.BackupID != b.ID || l.DiskID != i || len(l.Nonce) != 8 || !l.LeasedAt.Equal(start) {
			t.Errorf("lease %+v", l)
		}
		if b.Runs[i].Port != l.Port || b.Runs[i].Unit != unitOf(b.ID, l) || b.Runs[i].Key != 2000+i {
			t.Errorf("run %+v", b.Runs[i])
		}
	}
	if n, err := s.Counts(start); err != nil || n != (query.Counts{Active: 1, Leases: 2}) {
		t.Errorf("counts %+v, error %v", n, err)
	}
}

func TestPrepareTwice(t *testing.T) {
	s := openNew(t)
	b := mustPrepare(t, s, vmOf("a", 1), start)
	_, _, err := s.Prepare(preparation(vmOf("a", 1), start.Add(time.Hour)))
	var active *rules.ActiveError
	if !errors.As(err, &active) || *active != (rules.ActiveError{VM: "a", BackupID: b.ID, State: record.Preparing}) {
		t.Errorf("got %v", err)
	}
}

func TestRequestID(t *testing.T) {
	s := openNew(t)
	p := preparation(vmOf("a", 1), start)
	p.Backup.RequestID = "r1"
	first, _, err := s.Prepare(p)
	if err != nil {
		t.Fatal(err)
	}
	repeat := func() {
		t.Helper()
		again, existing, err := s.Prepare(p)
		if err != nil || !existing || again.ID != first.ID {
			t.Errorf("got %s, existing %v, error %v", again.ID, existing, err)
		}
	}
	repeat()
	fail(t, s, first)
	p.Now = start.Add(time.Hour)
	repeat()

	other := p
	other.Backup.VM = vmOf("b", 1)
	for field, p := range map[string]Preparation{
		"vm_name":       other,
		"backup_type":   {Backup: record.Backup{VM: p.Backup.VM, Type: record.Incremental, Repository: "local", RequestID: "r1"}, Now: start},
		"repository_id": {Backup: record.Backup{VM: p.Backup.VM, Type: record.Full, Repository: "x", RequestID: "r1"}, Now: start},
	} {
		_, _, err := s.Prepare(p)
		var mismatch *RequestMismatchError
		if !errors.As(err, &mismatch) || mismatch.Field != field || mismatch.BackupID != first.ID {
			t.Errorf("%s: %v", field, err)
		}
	}

	drop(t, s, first.ID)
	if again, existing, err := s.Prepare(p); err != nil || existing || again.ID == first.ID {
		t.Errorf("after removal: %s, existing %v, error %v", again.ID, existing, err)
	}
}

// An id is never given twice, even when the clock stops or the first backup is gone.
func TestIDsAreNeverReused(t *testing.T) {
	s := openNew(t)
	seen := map[string]bool{}
	for i := range 6 {
		b := fail(t, s, mustPrepare(t, s, vmOf("a", 1), start.Add(-time.Duration(i/3)*time.Second)))
		if seen[b.ID] {
			t.Errorf("%s: twice", b.ID)
		}
		seen[b.ID] = true
		if i%2 == 0 {
			drop(t, s, b.ID)
		}
	}
	p := preparation(vmOf("b", 1), start)
	p.ID = func(int64) string { return "always" }
	b, _, err := s.Prepare(p)
	if err != nil {
		t.Fatal(err)
	}
	fail(t, s, b)
	if _, _, err := s.Prepare(p); err == nil || !strings.Contains(err.Error(), "no unused backup_id") {
		t.Errorf("got %v", err)
	}
}

// Whatever is wrong, nothing at all is written.
func TestPrepareWritesAllOrNothing(t *testing.T) {
	s := openNew(t)
	holder := mustPrepare(t, s, vmOf("holder", 1), start)
	for name, spoil := range map[string]func(*Preparation){
		"no vm":            func(p *Preparation) { p.Backup.VM = record.VM{} },
		"no disks":         func(p *Preparation) { p.Backup.VM.Disks = nil },
		"type":             func(p *Preparation) { p.Backup.Type = "some" },
		"repository":       func(p *Preparation) { p.Backup.Repository = "" },
		"request id":       func(p *Preparation) { p.Backup.RequestID = "\x00" },
		"no time":          func(p *Preparation) { p.Now = time.Time{} },
		"no id":            func(p *Preparation) { p.ID = func(int64) string { return "" } },
		"no port":          func(p *Preparation) { p.Ports = portsOf(10100, 10101) },
		"too few ports":    func(p *Preparation) { p.Ports = fixedPorts(1) },
		"one port twice":   func(p *Preparation) { p.Ports = fixedPorts(1, 1) },
		"port 0":           func(p *Preparation) { p.Ports = fixedPorts(0, 1) },
		"leased port":      func(p *Preparation) { p.Ports = fixedPorts(1, 10100) },
		"no directory":     completeWith(func(b *record.Backup) { b.Directory = "" }),
		"other's dir":      completeWith(func(b *record.Backup) { b.Directory = holder.Directory }),
		"other's image":    completeWith(func(b *record.Backup) { b.Runs[0].Image = holder.Runs[0].Image }),
		"other's export":   completeWith(func(b *record.Backup) { b.Runs[1].ExportName = holder.Runs[0].ExportName }),
		"one image twice":  completeWith(func(b *record.Backup) { b.Runs[0].Image = b.Runs[1].Image }),
		"one export twice": completeWith(func(b *record.Backup) { b.Runs[0].ExportName = b.Runs[1].ExportName }),
		"long image":       completeWith(func(b *record.Backup) { b.Runs[0].Image = strings.Repeat("/x", 20_000) }),
		"unit sans nonce":  completeWith(func(b *record.Backup) { b.Runs[0].Unit = "unit" }),
		"id changed":       completeWith(func(b *record.Backup) { b.ID += "x" }),
		"port changed":     completeWith(func(b *record.Backup) { b.Runs[0].Port++ }),
		"state changed":    completeWith(func(b *record.Backup) { b.State = record.Running }),
		"run lost":         completeWith(func(b *record.Backup) { b.Runs = b.Runs[:1] }),
	} {
		t.Run(name, func(t *testing.T) {
			p := preparation(vmOf("a", 2), start)
			p.Backup.RequestID = "r"
			spoil(&p)
			b, existing, err := s.Prepare(p)
			if err == nil || existing || b.ID != "" {
				t.Errorf("got %+v, existing %v, error %v", b, existing, err)
			}
			if n, err := s.Counts(start); err != nil || n != (query.Counts{Active: 1, Leases: 1}) {
				t.Errorf("counts %+v, error %v", n, err)
			}
		})
	}
	p := preparation(vmOf("a", 2), start)
	p.Backup.RequestID = "r"
	if b, existing, err := s.Prepare(p); err != nil || existing || b.Runs[0].Port != 10101 {
		t.Errorf("afterwards: %+v, existing %v, error %v", b, existing, err)
	}
}

func fixedPorts(ports ...uint16) PortChooser {
	return func(uint16, func(uint16) bool, int) ([]uint16, error) { return ports, nil }
}

func completeWith(spoil func(*record.Backup)) func(*Preparation) {
	return func(p *Preparation) {
		complete := p.Complete
		p.Complete = func(b *record.Backup, leases []record.Lease) {
			complete(b, leases)
			spoil(b)
		}
	}
}

func TestErrorsOfPrepare(t *testing.T) {
	s := openNew(t)
	p := preparation(vmOf("a", 0), start)
	if _, _, err := s.Prepare(p); !errors.Is(err, record.ErrNoDisks) {
		t.Errorf("got %v", err)
	}
	p = preparation(vmOf("a", 2), start)
	p.Ports = portsOf(1, 1)
	if _, _, err := s.Prepare(p); !errors.Is(err, errNoPort) {
		t.Errorf("got %v", err)
	}
	completeWith(func(b *record.Backup) { b.Runs[0].Image = b.Runs[1].Image })(&p)
	p.Ports = portsOf(1, 2)
	var claim *ClaimError
	if _, _, err := s.Prepare(p); !errors.As(err, &claim) || claim.Kind != "image" || claim.BackupID == "" {
		t.Errorf("got %v", err)
	}
}

// A bug in a function of the caller is not taken for a damaged file, and leaves the store usable.
func TestPanicOfTheCaller(t *testing.T) {
	s := openNew(t)
	func() {
		defer func() {
			if r := recover(); r != "bug" {
				t.Errorf("recovered %v", r)
			}
		}()
		p := preparation(vmOf("a", 1), start)
		p.Complete = func(*record.Backup, []record.Lease) { panic("bug") }
		_, _, _ = s.Prepare(p)
	}()
	mustPrepare(t, s, vmOf("a", 1), start)
}

func TestRotation(t *testing.T) {
	s := openNew(t)
	var got []uint16
	for i := range 5 {
		p := preparation(vmOf("a", 2), start.Add(time.Duration(i)*time.Minute))
		p.Ports = portsOf(1, 5)
		b, _, err := s.Prepare(p)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b.Runs[0].Port, b.Runs[1].Port)
		fail(t, s, b)
	}
	if want := []uint16{1, 2, 3, 4, 5, 1, 2, 3, 4, 5}; !cmp.Equal(want, got) {
		t.Errorf("got %v", got)
	}
}

func TestManyPrepareOneVM(t *testing.T) {
	s := openNew(t)
	var won, lost atomic.Int32
	var wait sync.WaitGroup
	for i := range 50 {
		wait.Go(func() {
			_, _, err := s.Prepare(preparation(vmOf("a", 2), start.Add(time.Duration(i)*time.Second)))
			var active *rules.ActiveError
			switch {
			case err == nil:
				won.Add(1)
			case errors.As(err, &active):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if won.Load() != 1 || lost.Load() != 49 {
		t.Errorf("%d won, %d lost", won.Load(), lost.Load())
	}
}

func TestManyPrepareManyVMs(t *testing.T) {
	s := openNew(t)
	var wait sync.WaitGroup
	for i := range 50 {
		wait.Go(func() {
			vm := vmOf(fmt.Sprintf("vm%d", i), 2)
			b, _, err := s.Prepare(preparation(vm, start))
			if err != nil {
				t.Error(err)
				return
			}
			if _, _, err := s.Backups(query.Query{}); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				fail(t, s, b)
			}
		})
	}
	wait.Wait()
	if n, err := s.Counts(start); err != nil || n.Active != 25 || n.Leases != 50 {
		t.Errorf("counts %+v, error %v", n, err)
	}
}
