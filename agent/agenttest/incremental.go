package agenttest

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// Point makes a backup of a type in repository main, and returns its restore point.
func (w *World) Point(vm string, kind record.Type) record.Backup {
	w.Helper()
	b, err := w.Agent.Backups.Start(w.Context(), backup.Request{VMName: vm, Type: kind, Repository: "main"})
	Must(w.TB, err)
	b = w.Wait(b.ID)
	if b.State != record.Completed {
		w.Fatalf("backup %s is %s: %+v", b.ID, b.State, b.Failure)
	}
	return b
}

// Freeze copies the sources as they are now, so that a restore point can be compared with them later.
func Freeze(t testing.TB, sources []string) []string {
	t.Helper()
	frozen := make([]string, len(sources))
	for i, s := range sources {
		frozen[i] = filepath.Join(t.TempDir(), filepath.Base(s))
		out, err := exec.Command("cp", "--sparse=always", s, frozen[i]).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return frozen
}

// Scribble overwrites 64 KiB of a disk with random data.
func Scribble(t testing.TB, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	Must(t, err)
	defer f.Close()
	data := make([]byte, 64<<10)
	_, _ = rand.Read(data)
	_, err = f.WriteAt(data, offset)
	Must(t, err)
}

// ComparePoint fails the test if an image of a restore point differs from its frozen source.
func (w *World) ComparePoint(b record.Backup, frozen []string) {
	w.Helper()
	for i, d := range b.Runs {
		w.Compare(frozen[i], d.Image)
	}
}

// Add adds a disk to a VM.
func (w Disks) Add(vm record.VM, sources []string, size int64) (record.VM, []string) {
	w.Helper()
	i := len(vm.Disks)
	source := filepath.Join(w.Dir, "added-"+vm.Name+".raw")
	WriteSource(w.TB, source, size)
	vm.Disks = append(vm.Disks, record.Disk{ID: i, UnitNumber: i, DeviceKey: 2000 + i, CapacityBytes: size})
	sources = append(sources, source)
	w.PutAgain(vm, sources)
	return vm, sources
}

// PutAgain puts a changed VM on record, at the SNA and in the agent.
func (w Disks) PutAgain(vm record.VM, sources []string) {
	w.Helper()
	simulated := snatest.VM{Name: vm.Name, Path: vm.InventoryPath}
	for i, d := range vm.Disks {
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: d.Key(), UnitNumber: d.UnitNumber, Source: sources[i]})
	}
	Must(w.TB, w.SNA.SetVM(simulated))
	_, err := w.Agent.Inventory.Put(vm)
	Must(w.TB, err)
}

// LastChangeID returns the change id of the first disk in the parent of a backup.
func (w Disks) LastChangeID(vm, before string) string {
	w.Helper()
	b, err := w.Agent.Records.Backup(before)
	Must(w.TB, err)
	parent, err := w.Agent.Records.Backup(b.Parent)
	Must(w.TB, err)
	return parent.Runs[0].ChangeID
}
