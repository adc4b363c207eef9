package agenttest

import (
	"net/http"
	"os"
	"time"

	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// Three makes a VM with three disks on two controllers. vCenter lists them in another order than the record: the disk of the second
// controller comes first.
func (w Disks) Three(name string) (record.VM, []string) {
	w.Helper()
	vm, sources := w.PutVM(name, 16<<20, 32<<20, 24<<20)
	vm.Disks[2].DeviceKey, vm.Disks[2].UnitNumber = 2016, 0
	w.PutAgain(vm, sources)
	w.Reorder(vm, sources, 2, 0, 1)
	return vm, sources
}

// Reorder makes vCenter list the disks of a VM in another order than the record.
func (w Disks) Reorder(vm record.VM, sources []string, order ...int) {
	w.Helper()
	simulated := snatest.VM{Name: vm.Name, Path: vm.InventoryPath}
	for _, i := range order {
		d := vm.Disks[i]
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: d.Key(), UnitNumber: d.UnitNumber, Source: sources[i]})
	}
	Must(w.TB, w.SNA.SetVM(simulated))
}

// Replace replaces disk i of a VM in vCenter by another disk of the same size.
func (w Disks) Replace(vm record.VM, sources []string, i int) {
	w.Helper()
	Must(w.TB, os.Remove(sources[i]))
	WriteSource(w.TB, sources[i], vm.Disks[i].CapacityBytes)
	w.ResetTracking(vm, sources, i)
}

// ResetTracking resets the change tracking of disk i of a VM in vCenter: the change ids are those of another disk from now on.
func (w Disks) ResetTracking(vm record.VM, sources []string, i int) {
	w.Helper()
	simulated := snatest.VM{Name: vm.Name, Path: vm.InventoryPath}
	for j, d := range vm.Disks {
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: d.Key(), UnitNumber: d.UnitNumber, Source: sources[j]})
	}
	simulated.Disks[i].UUID = "52 99 99 99 99 99 99 99-99 99 99 99 99 99 99 99"
	Must(w.TB, w.SNA.SetVM(simulated))
}

// RestartDuring restarts the agent while SBC is held at a point. Requests of SBC wait meanwhile, as they do at a socket unit.
func (w *World) RestartDuring(id, point string) {
	w.Helper()
	_, err := w.SNA.WaitHeld(w.Context(), id, point)
	Must(w.TB, err)
	w.WaitFor(id, func(b record.Backup) bool { return b.State == record.Finishing })
	started := make(chan struct{})
	var waiting http.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		<-started
		(*w.hub.Load()).ServeHTTP(rw, r)
	})
	w.hub.Store(&waiting)
	w.Stop()
	w.SNA.Release(point)
	time.Sleep(100 * time.Millisecond) // the request arrives while no agent runs
	w.Start()
	close(started)
}
