// Package agenttest runs an agent for tests, on a real systemd, D-Bus, qemu-nbd and bbolt, with a simulated SNA. It has the steps and
// checks that the tests of several packages share. Only tests import it.
package agenttest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/agent/store"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/rpc/callbacks"
	"github.com/sendense/backup-agent/units"
	"github.com/sendense/backup-agent/units/systemdtest"
)

// Main is the TestMain of a package whose tests need a World. It boots systemd for them.
func Main(m *testing.M) { systemdtest.Main(m) }

// A World is a hub: the agent on a real systemd, D-Bus, qemu-nbd and bbolt, and a simulated SNA that it calls over HTTP.
type World struct {
	testing.TB
	Dir    string
	Config *config.Config
	SNA    *snatest.Server
	Store  *store.Store
	Units  *units.Manager
	Agent  *agent.Agent
	gather *prometheus.Registry // the metrics of the agent
	Logger *slog.Logger         // of the agent; nil: the test's log
	hub    atomic.Pointer[http.Handler]
	stuck  sync.Map // since when a repository does not answer, by id

	Chains   Chains
	Disks    Disks
	Keys     Keys
	Merges   Merges
	Restores Restores
}

// What a World does with one kind of thing.
type (
	// Chains makes chains of restore points, and checks their content.
	Chains struct{ *World }
	// Disks changes the disks of VMs.
	Disks struct{ *World }
	// Keys changes the encryption, and checks it.
	Keys struct{ *World }
	// Merges starts merges, waits for them and checks how they end.
	Merges struct{ *World }
	// Restores starts restores, waits for them and compares what they serve.
	Restores struct{ *World }
)

// New boots a hub and stops it when the test ends. configure may change the configuration and the SNA before anything starts.
func New(t testing.TB, configure ...func(*config.Config, *snatest.Options)) *World {
	t.Helper()
	w := &World{TB: t, Dir: systemdtest.DiskDir(t)}
	w.Chains, w.Disks, w.Keys, w.Merges, w.Restores = Chains{w}, Disks{w}, Keys{w}, Merges{w}, Restores{w}
	callbacks := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		(*w.hub.Load()).ServeHTTP(rw, r)
	}))
	t.Cleanup(callbacks.Close)
	options := snatest.Options{
		Callback: callbacks.URL, OldContract: true, SnapshotBeforeAnswer: true, Dir: w.Dir, Logger: testLogger(t),
		RetryDelay: 100 * time.Millisecond, // a tenth of the real delay: SBC outlives its exports by 0.7 s
	}
	w.Config = config.Default()
	takePlace(t, w.Config)
	w.Config.Agent.StateDirectory = filepath.Join(w.Dir, "state")
	w.Config.Repositories = []config.Repository{{ID: "main", Path: filepath.Join(w.Dir, "repository")}}
	for _, dir := range []string{w.Config.Agent.StateDirectory, w.Config.Repositories[0].Path} {
		Must(t, os.Mkdir(dir, 0o755))
	}
	w.Config.Deadlines.LastQuestion = config.DurationOf(200 * time.Millisecond) // the simulator is near
	for _, f := range configure {
		f(w.Config, &options)
	}
	var err error
	w.SNA, err = snatest.New(options)
	Must(t, err)
	t.Cleanup(w.SNA.Close)
	if w.Config.SNA.URL == config.Default().SNA.URL {
		w.Config.SNA.URL = w.SNA.URL
	}
	w.Start()
	t.Cleanup(w.end)
	return w
}

// Start opens the agent, as the daemon does.
func (w *World) Start() {
	w.Helper()
	var err error
	w.Store, err = store.Open(filepath.Join(w.Config.Agent.StateDirectory, "agent.db"), store.Options{})
	Must(w.TB, err)
	w.Units, err = units.Open(w.Context(), units.Options{User: w.Config.Agent.Bus == config.BusUser, Slice: w.Config.Agent.Slice, Logger: testLogger(w.TB)})
	Must(w.TB, err)
	client, err := sna.New(sna.Options{
		URL: w.Config.SNA.URL, ConnectTimeout: w.Config.SNA.ConnectTimeout.Std(), StartTimeout: w.Config.SNA.StartTimeout.Std(),
	})
	Must(w.TB, err)
	w.gather = prometheus.NewPedanticRegistry()
	logger := w.Logger
	if logger == nil {
		logger = testLogger(w.TB)
	}
	w.Agent, err = agent.New(agent.Options{
		Config: w.Config, Store: w.Store, Units: w.Units, SNA: client, Logger: logger, Version: "test", Metrics: w.gather, Stuck: w.stuckSince,
	})
	Must(w.TB, err)
	var handler http.Handler = callbacks.Handler(callbacks.Options{Agent: w.Agent, Logger: testLogger(w.TB)})
	w.hub.Store(&handler)
	Must(w.TB, w.Agent.Open(w.Context()))
}

// Stop closes the agent, as the daemon does. Exports continue.
func (w *World) Stop() {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	Must(w.TB, w.Agent.Close(ctx))
	Must(w.TB, w.Units.Close())
	Must(w.TB, w.Store.Close())
}

// end checks what must hold after every test: active backups and restores can be ended, and nothing is left behind.
func (w *World) end() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	active, err := w.Store.Active()
	Must(w.TB, err)
	for _, b := range active {
		_, _ = w.Agent.Backups.Cancel(ctx, b.ID) // it may have ended meanwhile, or it may be too late to cancel
		w.Wait(b.ID)
	}
	restores, err := w.Store.ActiveRestores()
	Must(w.TB, err)
	for _, r := range restores {
		_, err := w.Agent.Restores.Stop(ctx, r.ID)
		Must(w.TB, err)
	}
	w.Clean()
	Must(w.TB, w.Store.Check(ctx))
	w.Stop()
}

// Clean fails the test if a unit, a lease, or a directory of a backup that did not complete is left.
func (w *World) Clean() {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list, err := w.Units.List(ctx, "sendense-nbd-")
	Must(w.TB, err)
	for _, u := range list {
		if w.ours(u) {
			w.Errorf("unit %s is left behind, %s/%s", u.Name, u.ActiveState, u.SubState)
		}
	}
	leases, err := w.Store.Leases()
	Must(w.TB, err)
	for _, l := range leases {
		w.Errorf("port %d is still leased to %s", l.Port, l.Owner())
	}
	for _, r := range w.Config.Repositories {
		scratch, err := filepath.Glob(filepath.Join(r.Path, ".restore*"))
		if err != nil || len(scratch) > 0 {
			w.Errorf("%v is left behind by restores, error %v", scratch, err)
		}
		dirs, err := filepath.Glob(filepath.Join(r.Path, "[^.]*", "*"))
		Must(w.TB, err)
		for _, dir := range dirs {
			if b, err := w.Store.Backup(filepath.Base(dir)); err != nil || b.State != record.Completed {
				w.Errorf("%s is left behind by a backup that is %s", dir, b.State)
			}
		}
	}
}

// PutVM makes a VM with a disk of each size, adds it to the SNA and the agent, and returns it with the paths of the disks' sources. Disk
// i has the unit number and the key of the i-th place on SCSI controllers.
func (w *World) PutVM(name string, sizes ...int64) (record.VM, []string) {
	w.Helper()
	vm := record.VM{Name: name, ContextID: "ctx-1", InventoryPath: "/DC1/vm/" + pathSafe(name)}
	simulated := snatest.VM{Name: name, Path: vm.InventoryPath}
	var sources []string
	for i, size := range sizes {
		unit := i % 15
		if unit >= 7 {
			unit++
		}
		source := filepath.Join(w.Dir, nbd.SafeName(name)+"-source"+string(rune('a'+i%26))+string(rune('a'+i/26))+".raw")
		WriteSource(w.TB, source, size)
		key := 2000 + 16*(i/15) + unit
		vm.Disks = append(vm.Disks, record.Disk{ID: i, UnitNumber: unit, DeviceKey: key, CapacityBytes: size})
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: key, UnitNumber: unit, Source: source})
		sources = append(sources, source)
	}
	Must(w.TB, w.SNA.SetVM(simulated))
	_, err := w.Agent.Inventory.Put(vm)
	Must(w.TB, err)
	return vm, sources
}

// pathSafe escapes a name as one segment of an inventory path, as vCenter does.
func pathSafe(name string) string {
	if strings.Trim(name, ".") == "" {
		return strings.ReplaceAll(name, ".", "%2e") // SBC finds no path with "." or ".." in it
	}
	return strings.ReplaceAll(name, "/", "%2f")
}

// WriteSource makes a disk with data at its beginning and end; the rest is sparse.
func WriteSource(t testing.TB, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	Must(t, err)
	defer f.Close()
	Must(t, f.Truncate(size))
	data := make([]byte, min(size, 1<<20))
	_, _ = rand.Read(data)
	_, err = f.WriteAt(data, 0)
	Must(t, err)
	_, err = f.WriteAt(data[:min(size, 4096)], size-min(size, 4096))
	Must(t, err)
}

// StartBackup starts a full backup in repository main, and fails the test if that fails.
func (w *World) StartBackup(vm string) record.Backup {
	w.Helper()
	b, err := w.Agent.Backups.Start(w.Context(), backup.Request{VMName: vm, Type: record.Full, Repository: "main"})
	Must(w.TB, err)
	return b
}

// Wait waits until a backup has ended, and returns its record.
func (w *World) Wait(id string) record.Backup {
	w.Helper()
	return w.WaitFor(id, func(b record.Backup) bool { return b.State.Terminal() })
}

// WaitFor waits until done is true for the record of a backup, and returns the record.
func (w *World) WaitFor(id string, done func(record.Backup) bool) (b record.Backup) {
	w.Helper()
	w.Eventually("backup "+id+" continues", func() bool {
		var err error
		b, err = w.Agent.Records.Backup(id)
		Must(w.TB, err)
		return done(b)
	})
	return b
}

// patience bounds every wait, for a machine that is very busy: sixty disks took more than three minutes on one with a load of 30.
const patience = 10 * time.Minute

// Eventually waits until holds returns true. What takes longer than patience hangs, and fails the test.
func (w *World) Eventually(what string, holds func() bool) {
	w.Helper()
	for began := time.Now(); !holds(); systemdtest.Pause(began) {
		if time.Since(began) > patience {
			w.Fatalf("after %s: not so: %s", patience, what)
		}
	}
}

// Compare fails the test if an image differs from its source.
func (w *World) Compare(source, image string) {
	w.Helper()
	out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "qcow2", source, image).CombinedOutput()
	if err != nil {
		w.Errorf("image %s is not what its disk was: %s", image, out)
	}
}

// Posts returns how often the SNA was asked to start a job.
func (w *World) Posts(id string) int { return w.SNA.State().PostsPerJob[id] }

// Must fails the test if err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testLogger writes to the test's log.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// MountTmpfs mounts a small or read-only file system until the test ends. options are those of mount: "ro" or, for example, "size=1m".
func MountTmpfs(t testing.TB, path, options string) {
	t.Helper()
	Must(t, os.Mkdir(path, 0o755))
	Must(t, unix.Mount("tmpfs", path, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) }) // if this fails, it stays until the machine stops
	Must(t, unix.Mount("tmpfs", path, "tmpfs", unix.MS_REMOUNT|remountFlags(options), strings.TrimPrefix(options, "ro")))
}

func remountFlags(options string) uintptr {
	if options == "ro" {
		return unix.MS_RDONLY
	}
	return 0
}

// RemoveAll removes a path with all below it.
func (w *World) RemoveAll(path string) {
	w.Helper()
	Must(w.TB, os.RemoveAll(path))
}
