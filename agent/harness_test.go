package agent_test

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
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent"
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

func TestMain(m *testing.M) { systemdtest.Main(m) }

// world is a hub with everything on it: the agent on a real systemd, D-Bus, qemu-nbd and bbolt, and an SNA at the wire.
type world struct {
	testing.TB
	dir    string
	config *config.Config
	sna    *snatest.Server
	store  *store.Store
	units  *units.Manager
	agent  *agent.Agent
	gather *prometheus.Registry // the metrics of the agent
	logger *slog.Logger         // of the agent; the test's log if nil
	hub    atomic.Pointer[http.Handler]
}

// newWorld boots a hub. configure may change the configuration and the SNA before anything starts.
func newWorld(t testing.TB, configure ...func(*config.Config, *snatest.Options)) *world {
	t.Helper()
	w := &world{TB: t, dir: systemdtest.DiskDir(t)}
	callbacks := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		(*w.hub.Load()).ServeHTTP(rw, r)
	}))
	t.Cleanup(callbacks.Close)
	options := snatest.Options{
		Callback: callbacks.URL, OldContract: true, SnapshotBeforeAnswer: true, Dir: w.dir, Logger: testLogger(t),
		RetryDelay: 100 * time.Millisecond, // a tenth of the real one: SBC outlives its exports by 0.7 s
	}
	w.config = config.Default()
	w.config.Agent.StateDirectory = filepath.Join(w.dir, "state")
	w.config.Repositories = []config.Repository{{ID: "main", Path: filepath.Join(w.dir, "repository")}}
	for _, dir := range []string{w.config.Agent.StateDirectory, w.config.Repositories[0].Path} {
		must(t, os.Mkdir(dir, 0o755))
	}
	w.config.Deadlines.LastQuestion = config.DurationOf(200 * time.Millisecond) // the simulator is near
	for _, f := range configure {
		f(w.config, &options)
	}
	var err error
	w.sna, err = snatest.New(options)
	must(t, err)
	t.Cleanup(w.sna.Close)
	if w.config.SNA.URL == config.Default().SNA.URL {
		w.config.SNA.URL = w.sna.URL
	}
	w.start()
	t.Cleanup(w.end)
	return w
}

// start opens the agent, as the daemon does.
func (w *world) start() {
	w.Helper()
	var err error
	w.store, err = store.Open(filepath.Join(w.config.Agent.StateDirectory, "agent.db"), store.Options{})
	must(w.TB, err)
	w.units, err = units.Open(w.Context(), units.Options{User: w.config.Agent.Bus == config.BusUser, Slice: w.config.Agent.Slice, Logger: testLogger(w.TB)})
	must(w.TB, err)
	client, err := sna.New(sna.Options{
		URL: w.config.SNA.URL, ConnectTimeout: w.config.SNA.ConnectTimeout.Std(), StartTimeout: w.config.SNA.StartTimeout.Std(),
	})
	must(w.TB, err)
	w.gather = prometheus.NewPedanticRegistry()
	logger := w.logger
	if logger == nil {
		logger = testLogger(w.TB)
	}
	w.agent, err = agent.New(agent.Options{
		Config: w.config, Store: w.store, Units: w.units, SNA: client, Logger: logger, Version: "test", Metrics: w.gather,
	})
	must(w.TB, err)
	var handler http.Handler = callbacks.Handler(callbacks.Options{Agent: w.agent, Logger: testLogger(w.TB)})
	w.hub.Store(&handler)
	must(w.TB, w.agent.Open(w.Context()))
}

// stop closes the agent and leaves the exports to themselves, as the daemon does.
func (w *world) stop() {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	must(w.TB, w.agent.Close(ctx))
	must(w.TB, w.units.Close())
	must(w.TB, w.store.Close())
}

// end checks what must hold after every test: what is active can be cancelled, and then nothing is left.
func (w *world) end() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	active, err := w.store.Active()
	must(w.TB, err)
	for _, b := range active {
		_, _ = w.agent.CancelBackup(ctx, b.ID) // it may end by itself meanwhile, or be too late to cancel
		w.wait(b.ID)
	}
	restores, err := w.store.ActiveRestores()
	must(w.TB, err)
	for _, r := range restores {
		_, err := w.agent.StopRestore(ctx, r.ID)
		must(w.TB, err)
	}
	w.clean()
	must(w.TB, w.store.Check(ctx))
	w.stop()
}

// clean fails the test when a unit, a lease, or a directory of a backup that did not complete is there.
func (w *world) clean() {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list, err := w.units.List(ctx, "sendense-nbd-")
	must(w.TB, err)
	for _, u := range list {
		w.Errorf("unit %s is left behind, %s/%s", u.Name, u.ActiveState, u.SubState)
	}
	leases, err := w.store.Leases()
	must(w.TB, err)
	for _, l := range leases {
		w.Errorf("port %d is still leased to %s", l.Port, l.Owner())
	}
	for _, r := range w.config.Repositories {
		scratch, err := filepath.Glob(filepath.Join(r.Path, ".restore*"))
		if err != nil || len(scratch) > 0 {
			w.Errorf("%v is left behind by restores, error %v", scratch, err)
		}
		dirs, err := filepath.Glob(filepath.Join(r.Path, "[^.]*", "*"))
		must(w.TB, err)
		for _, dir := range dirs {
			if b, err := w.store.Backup(filepath.Base(dir)); err != nil || b.State != record.Completed {
				w.Errorf("%s is left behind by a backup that is %s", dir, b.State)
			}
		}
	}
}

// putVM makes a VM with a disk of each size, registers it with the SNA and the agent, and returns it with the paths of
// the disks' sources. Disk i has unit number and key of the i-th place on SCSI controllers.
func (w *world) putVM(name string, sizes ...int64) (record.VM, []string) {
	w.Helper()
	vm := record.VM{Name: name, ContextID: "ctx-1", InventoryPath: "/DC1/vm/" + pathSafe(name)}
	simulated := snatest.VM{Name: name, Path: vm.InventoryPath}
	var sources []string
	for i, size := range sizes {
		unit := i % 15
		if unit >= 7 {
			unit++
		}
		source := filepath.Join(w.dir, nbd.SafeName(name)+"-source"+string(rune('a'+i%26))+string(rune('a'+i/26))+".raw")
		writeSource(w.TB, source, size)
		key := 2000 + 16*(i/15) + unit
		vm.Disks = append(vm.Disks, record.Disk{ID: i, UnitNumber: unit, DeviceKey: key, CapacityBytes: size})
		simulated.Disks = append(simulated.Disks, snatest.Disk{Key: key, UnitNumber: unit, Source: source})
		sources = append(sources, source)
	}
	must(w.TB, w.sna.SetVM(simulated))
	_, err := w.agent.PutVM(vm)
	must(w.TB, err)
	return vm, sources
}

// pathSafe keeps a name to one segment of an inventory path: vCenter escapes the slash there.
func pathSafe(name string) string {
	if strings.Trim(name, ".") == "" {
		return strings.ReplaceAll(name, ".", "%2e") // "." and ".." can be no part of a path that SBC finds
	}
	return strings.ReplaceAll(name, "/", "%2f")
}

// writeSource makes a disk: some data at its beginning and end, the rest sparse.
func writeSource(t testing.TB, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(size))
	data := make([]byte, min(size, 1<<20))
	_, _ = rand.Read(data)
	_, err = f.WriteAt(data, 0)
	must(t, err)
	_, err = f.WriteAt(data[:min(size, 4096)], size-min(size, 4096))
	must(t, err)
}

// startBackup starts a full backup and fails the test when that fails.
func (w *world) startBackup(vm string) record.Backup {
	w.Helper()
	b, err := w.agent.StartBackup(w.Context(), agent.StartRequest{VMName: vm, Type: record.Full, Repository: "main"})
	must(w.TB, err)
	return b
}

// wait waits until a backup has ended.
func (w *world) wait(id string) record.Backup {
	w.Helper()
	return w.waitFor(id, func(b record.Backup) bool { return b.State.Terminal() })
}

func (w *world) waitFor(id string, done func(record.Backup) bool) (b record.Backup) {
	w.Helper()
	w.eventually("backup "+id+" goes on", func() bool {
		var err error
		b, err = w.agent.Backup(id)
		must(w.TB, err)
		return done(b)
	})
	return b
}

// eventually waits until something holds.
func (w *world) eventually(what string, holds func() bool) {
	w.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("after three minutes: not so: %s", what)
		}
	}
}

// compare fails the test unless an image holds what the source does.
func (w *world) compare(source, image string) {
	w.Helper()
	out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "qcow2", source, image).CombinedOutput()
	if err != nil {
		w.Errorf("image %s is not what its disk was: %s", image, out)
	}
}

// posts is how often the SNA was asked to start a job.
func (w *world) posts(id string) int { return w.sna.State().PostsPerJob[id] }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testLogger writes to the test's log.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// mountTmpfs makes a small or read-only file system for the time of the test.
func mountTmpfs(t testing.TB, path, options string) {
	t.Helper()
	must(t, os.Mkdir(path, 0o755))
	must(t, unix.Mount("tmpfs", path, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) }) // it goes with the machine otherwise
	must(t, unix.Mount("tmpfs", path, "tmpfs", unix.MS_REMOUNT|remountFlags(options), strings.TrimPrefix(options, "ro")))
}

func remountFlags(options string) uintptr {
	if options == "ro" {
		return unix.MS_RDONLY
	}
	return 0
}

func (w *world) removeAll(path string) {
	w.Helper()
	must(w.TB, os.RemoveAll(path))
}
