package clienttest_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/inventory"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
)

// TestRefreshFailureIsOnRecord: a backup of the disks on record, made because vCenter could not be asked, says so in record and
// manifest, also if it was queued. The next one whose disks are looked up says nothing.
func TestRefreshFailureIsOnRecord(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, withVCenter)
	vm, _ := w.PutVM("vm", 1<<20)
	vm.VCenter, vm.Refresh = "main", record.PreferRefresh
	_, err := w.Agent.Inventory.Put(vm)
	agenttest.Must(t, err)
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{DiscoverFails: "vCenter login failed"}))
	b := w.Point("vm", record.Full)
	if !strings.Contains(b.RefreshError, "vCenter login failed") || w.Manifest(b).RefreshError != b.RefreshError {
		t.Errorf("record: %q, manifest: %q", b.RefreshError, w.Manifest(b).RefreshError)
	}
	w.WantSeries(w.Scrape(), agenttest.Series{"sendense_agent_vm_refresh_failures_total": 1})
	agenttest.Must(t, w.SNA.SetFaults(snatest.Faults{}))
	if b = w.Point("vm", record.Incremental); b.RefreshError != "" {
		t.Errorf("record: %q", b.RefreshError)
	}
	if vm, err := w.Agent.Inventory.Get("vm"); err != nil || vm.UUID == "" || vm.ContextID != "ctx-1" {
		t.Errorf("a VM that was looked up: %+v, %v", vm, err)
	}
}

// TestLookUp: a VM is found under any name that it has on record and in vCenter.
func TestLookUp(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/DC1/vm/otherwise", "/DC1/vm/one, two", "/DC1/vm/ blank ", "/DC1/vm/web[1]", "/DC1/vm/slash%2fed/"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			w := agenttest.New(t, withVCenter)
			vm, sources := w.PutVM("vm", 1<<20)
			vm.InventoryPath, vm.VCenter, vm.Refresh = path, "main", record.RequireRefresh
			simulated := snatest.VM{Path: strings.TrimSuffix(path, "/"), Disks: []snatest.Disk{{Key: 2003, Source: sources[0]}}}
			agenttest.Must(t, w.SNA.SetVM(simulated))
			_, err := w.Agent.Inventory.Put(vm)
			agenttest.Must(t, err)
			if b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"}); err != nil || b.Runs[0].Key != 2003 {
				t.Errorf("%+v, %v", b.Runs, err)
			}
		})
	}
}

// TestPathIsNoPattern: a path that would find another VM too finds its own.
func TestPathIsNoPattern(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	w.PutVM("web1", 1<<20)
	vm, sources := w.PutVM("web[1]", 1<<20)
	w.Completes(w.StartBackup(vm.Name), sources)
	for _, post := range w.SNA.State().Posts {
		if post.Body["vm_path"] != `/DC1/vm/web\[1]` {
			t.Errorf("the SNA was sent the path %s", post.Body["vm_path"])
		}
	}
	dots, sources := w.PutVM("...", 1<<20) // as a pattern it means: everything below
	w.Completes(w.StartBackup(dots.Name), sources)
}

// TestStoredVMsAreLookedUp: a VM that discovery has stored is looked up before each of its backups, unless its record says
// otherwise.
func TestStoredVMsAreLookedUp(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, withVCenter)
	w.PutVM("vm", 1<<20)
	agenttest.Must(t, w.Agent.Inventory.Remove("vm"))
	for _, want := range []record.Refresh{record.PreferRefresh, record.RequireRefresh} {
		found, err := w.Agent.Inventory.Discover(t.Context(), inventory.DiscoverRequest{VCenter: "main", Store: true})
		agenttest.Must(t, err)
		vm, err := w.Agent.Inventory.Get("vm")
		agenttest.Must(t, err)
		if !found[0].Stored || vm.Refresh != want || vm.UUID == "" || vm.UUID != found[0].VM.UUID {
			t.Errorf("stored %+v, want refresh %s", vm, want)
		}
		vm.Refresh = record.RequireRefresh
		_, err = w.Agent.Inventory.Put(vm)
		agenttest.Must(t, err)
	}
	vm, err := w.Agent.Inventory.Get("vm")
	agenttest.Must(t, err)
	w.Config.VCenters["other"] = w.Config.VCenters["main"]
	found, err := w.Agent.Inventory.Discover(t.Context(), inventory.DiscoverRequest{VCenter: "other", Store: true})
	agenttest.Must(t, err)
	if again, err := w.Agent.Inventory.Get("vm"); err != nil || found[0].Stored || !strings.Contains(found[0].Error, "on record with the vcenter main") || again.VCenter != vm.VCenter {
		t.Errorf("a VM of another vCenter: %+v, %v", found[0], err)
	}
}

// TestDisksOfTheVMChange: however the disks of a VM change between two backups, the next backup holds the VM as it is, or fails. If
// the disks are looked up, it is made. If not, only a replaced disk can be detected.
func TestDisksOfTheVMChange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(w *agenttest.World, vm *record.VM, sources *[]string)
		changes []record.Change // of the disks of the backup whose disks are looked up
		alone   bool            // it is also made without the lookup
	}{
		"added": {
			func(w *agenttest.World, vm *record.VM, sources *[]string) {
				*vm, *sources = w.Disks.Add(*vm, *sources, 2<<20)
			},
			[]record.Change{record.Same, record.Same, record.Added},
			false,
		},
		"removed": {func(w *agenttest.World, vm *record.VM, sources *[]string) {
			vm.Disks, *sources = vm.Disks[1:], (*sources)[1:]
			w.Disks.PutAgain(*vm, *sources)
		}, []record.Change{record.Same}, false},
		"grown": {func(w *agenttest.World, vm *record.VM, sources *[]string) {
			agenttest.Must(t, os.Truncate((*sources)[1], 8<<20))
			vm.Disks[1].CapacityBytes = 8 << 20
			agenttest.Scribble(t, (*sources)[1], 7<<20)
			w.Disks.PutAgain(*vm, *sources)
		}, []record.Change{record.Same, record.Grown}, false},
		"replaced": {
			func(w *agenttest.World, vm *record.VM, sources *[]string) { w.Disks.Replace(*vm, *sources, 1) },
			[]record.Change{record.Same, record.Replaced},
			true,
		},
	} {
		for _, refresh := range []record.Refresh{record.RequireRefresh, record.NoRefresh} {
			t.Run(name+" "+string(refresh), func(t *testing.T) {
				t.Parallel()
				w := agenttest.New(t, withVCenter, func(c *config.Config, _ *snatest.Options) {
					c.Deadlines.NoProgress, c.Deadlines.LastQuestion = config.DurationOf(3*time.Second), config.DurationOf(time.Second)
				})
				vm, sources := w.PutVM("vm", 4<<20, 4<<20)
				vm.VCenter, vm.Refresh = "main", refresh
				_, err := w.Agent.Inventory.Put(vm)
				agenttest.Must(t, err)
				w.Point("vm", record.Full)
				known := vm
				known.Disks = slices.Clone(vm.Disks)
				c.change(w, &vm, &sources)
				_, err = w.Agent.Inventory.Put(known)
				agenttest.Must(t, err)
				b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Incremental, Repository: "main"})
				agenttest.Must(t, err)
				b = w.Wait(b.ID)
				if refresh == record.NoRefresh && !c.alone {
					if b.State != record.Failed {
						t.Errorf("it is %s: %+v", b.State, b.Runs)
					}
					return
				}
				var changes []record.Change
				for _, d := range b.Runs {
					changes = append(changes, d.Change)
				}
				if b.State != record.Completed || !slices.Equal(changes, c.changes) {
					t.Fatalf("it is %s, disks %v: %+v", b.State, changes, b.Failure)
				}
				w.ComparePoint(b, agenttest.Freeze(t, sources))
			})
		}
	}
}
