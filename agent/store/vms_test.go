package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store/query"
	"github.com/sendense/backup-agent/agent/store/rules"
	"github.com/sendense/backup-agent/agent/store/schema"
)

// A record that is replaced keeps the time at which it was added; one that has none gets it.
func TestAddedAt(t *testing.T) {
	s := openNew(t)
	for i, step := range []struct{ put, want int64 }{{0, 0}, {5, 5}, {7, 5}, {0, 5}} {
		vm := vmOf("a", 1)
		if step.put != 0 {
			vm.AddedAt = time.Unix(step.put, 0)
		}
		if _, err := s.PutVM(vm); err != nil {
			t.Fatal(err)
		}
		got, err := s.VM("a")
		if err != nil || step.want == 0 && !got.AddedAt.IsZero() || step.want != 0 && got.AddedAt.Unix() != step.want {
			t.Errorf("step %d: added at %s, error %v, want %d", i, got.AddedAt, err, step.want)
		}
	}
}

func TestVMs(t *testing.T) {
	s := openNew(t)
	names := []string{"a", "a/b", "b", "ü ✓", strings.Repeat("x", record.MaxNameBytes)}
	for _, name := range names {
		if created, err := s.PutVM(vmOf(name, 2)); err != nil || !created {
			t.Fatalf("%q: created %v, error %v", name, created, err)
		}
	}
	if created, err := s.PutVM(vmOf("a", 3)); err != nil || created {
		t.Fatalf("again: created %v, error %v", created, err)
	}
	vm, err := s.VM("a")
	if err != nil || len(vm.Disks) != 3 {
		t.Fatalf("got %+v, error %v", vm, err)
	}
	var seen []string
	for after, pages := "", 0; ; pages++ {
		page, next, err := s.VMs(after, 2)
		if err != nil || len(page) == 0 || len(page) > 2 || pages > 2 {
			t.Fatalf("page %d of %d, error %v", pages, len(page), err)
		}
		for _, vm := range page {
			seen = append(seen, vm.Name)
		}
		if after = next; next == "" {
			break
		}
	}
	if want := []string{"a", "a/b", "b", strings.Repeat("x", 255), "ü ✓"}; !cmp.Equal(want, seen) {
		t.Errorf("got %q", seen)
	}
	if page, next, err := s.VMs("\xff", 0); len(page) > 0 || next != "" || err != nil {
		t.Errorf("behind the end: %d, %q, %v", len(page), next, err)
	}
	if err := s.RemoveVM("b"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"b", "", strings.Repeat("y", 100_000)} {
		var missing *schema.NotFoundError
		if err := s.RemoveVM(name); !errors.As(err, &missing) || missing.Kind != schema.KindVM || missing.Name != name {
			t.Errorf("removing %.10q: %v", name, err)
		}
		if _, err := s.VM(name); !errors.As(err, &missing) {
			t.Errorf("getting %.10q: %v", name, err)
		}
	}
}

func TestPutVMRefusesWhatIsNotValid(t *testing.T) {
	s := openNew(t)
	for _, vm := range []record.VM{{}, {Name: "\xff"}, {Name: strings.Repeat("x", 256)}, {Name: "x", Disks: make([]record.Disk, 2)}} {
		if created, err := s.PutVM(vm); err == nil || created {
			t.Errorf("%.20q: created %v, error %v", vm.Name, created, err)
		}
	}
}

func TestVMWithActiveBackup(t *testing.T) {
	s := openNew(t)
	if _, err := s.PutVM(vmOf("a", 2)); err != nil {
		t.Fatal(err)
	}
	b := mustPrepare(t, s, vmOf("a", 2), start)
	var active *rules.ActiveError
	if err := s.RemoveVM("a"); !errors.As(err, &active) || active.BackupID != b.ID || active.State != record.Preparing {
		t.Errorf("removing: %v", err)
	}
	if _, err := s.PutVM(vmOf("a", 1)); err != nil {
		t.Errorf("putting: %v", err)
	}
	if b, err := s.Backup(b.ID); err != nil || len(b.VM.Disks) != 2 {
		t.Errorf("the backup's copy changed: %+v, %v", b.VM, err)
	}
	fail(t, s, b)
	if err := s.RemoveVM("a"); err != nil {
		t.Errorf("removing after the end: %v", err)
	}
}

func TestVMPageSizes(t *testing.T) {
	s := openNew(t)
	for i := range query.DefaultPage + 1 {
		if _, err := s.PutVM(vmOf(fmt.Sprintf("vm%03d", i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	for limit, want := range map[int]int{0: query.DefaultPage, -1: query.DefaultPage, 1: 1, query.DefaultPage + 1: query.DefaultPage + 1, 1 << 30: query.DefaultPage + 1} {
		page, next, err := s.VMs("", limit)
		if err != nil || len(page) != want || (next == "") != (want > query.DefaultPage) {
			t.Errorf("limit %d: %d VMs, next %q, error %v", limit, len(page), next, err)
		}
	}
}
