package agent_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/nbd"
)

func within(t *testing.T, what string, d time.Duration, f func()) bool {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
		return true
	case <-time.After(d):
		t.Errorf("%s: not done within %s", what, d)
		return false
	}
}

// A client that connects to disk 0 after its connections were counted, while disk 1's client is waited for, is stopped by
// force, and the point is published all the same.
func TestClientComesBack(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.Disconnect = config.DurationOf(2 * time.Second)
	})
	w.putVM("vm", 8<<20, 8<<20)
	w.sna.Hold("disconnect/1")
	b := w.startBackup("vm")
	w.waitFor(b.ID, func(b record.Backup) bool { return b.State == record.Finishing })
	time.Sleep(500 * time.Millisecond)
	c, err := nbd.Dial(t.Context(), net.JoinHostPort("127.0.0.1", itoa(int(b.Runs[0].Port))), b.Runs[0].ExportName)
	must(t, err)
	defer c.Close()
	_, err = c.WriteAt(make([]byte, 1<<20), 0) // overwrites the copy
	must(t, err)
	w.sna.Release("disconnect/1")
	if b = w.wait(b.ID); b.State == record.Completed {
		t.Errorf("published although a client was connected to disk 0 and writing when its exporter was stopped")
	}
}

func itoa(n int) string {
	s := ""
	for ; n > 0; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}

// A directory that was there before is removed by the undoing of a backup that never made it.
func TestDirectoryThatWasThere(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 1<<20)
	now := time.Now().Unix()
	var dirs []string
	for s := range int64(10) {
		dir := filepath.Join(w.config.Repositories[0].Path, nbd.DirName("vm"), nbd.BackupID("vm", now+s))
		must(t, os.MkdirAll(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "precious.qcow2"), []byte("x"), 0o644))
		dirs = append(dirs, dir)
	}
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	t.Logf("start: %v", err)
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "precious.qcow2")); err != nil {
			t.Errorf("undo removed what the backup had not made: %v", err)
		}
	}
	for _, dir := range dirs {
		os.RemoveAll(dir)
	}
}

// A caller that hangs up while the parent is verified turns an incremental into a full backup.
func TestAutoOfAGoneCaller(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20)
	full := w.point("vm", record.Auto)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.agent.StartBackup(ctx, agent.StartRequest{VMName: "vm", Type: record.Auto, Repository: "main"})
	t.Logf("start: %v", err)
	list, _, err := w.agent.Backups(agent.ListQuery{VMName: "vm"})
	must(t, err)
	if list[0].ID != full.ID && list[0].Type == record.Full {
		t.Errorf("auto became %s although the parent is sound; the caller had only hung up", list[0].Type)
	}
	for _, b := range list {
		w.wait(b.ID)
	}
}

// The repository's path is spelled otherwise than when the parent was made: same directory, through a link.
func TestRepositorySpelledOtherwise(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20)
	w.point("vm", record.Full)
	w.stop()
	link := filepath.Join(w.dir, "link")
	must(t, os.Symlink(w.config.Repositories[0].Path, link))
	w.config.Repositories[0].Path = link
	w.start()
	b, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Auto, Repository: "main"})
	if err != nil {
		t.Errorf("auto: %v", err)
		return
	}
	b = w.wait(b.ID)
	t.Logf("%s %s", b.Type, b.State)
}

// max_exports is lowered below what the head of the queue needs.
func TestQueueHeadNeverFits(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxExports = 3 })
	w.putVM("first", 8<<20)
	w.putVM("large", 1<<20, 1<<20, 1<<20)
	w.putVM("small", 1<<20)
	w.sna.Hold("copy/0")
	first := w.startBackup("first")
	large, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "large", Type: record.Full, Repository: "main", Queue: true})
	must(t, err)
	w.stop()
	w.config.Limits.MaxExports = 2
	w.start()
	w.sna.Release("copy/0")
	w.wait(first.ID)
	if large = w.wait(large.ID); large.State != record.Failed {
		t.Errorf("the head of the queue waits for ever: %s", large.State)
	}
	if _, err = w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "small", Type: record.Full, Repository: "main"}); err != nil {
		t.Errorf("nothing runs, and a backup of one disk is refused: %v", err)
	}
}

// The repository is not mounted while a backup is undone.
func TestUndoWithoutRepository(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20)
	w.sna.Hold("copy/0")
	b := w.startBackup("vm")
	path := w.config.Repositories[0].Path
	must(t, os.Rename(path, path+".away"))
	must(t, os.Mkdir(path, 0o755)) // the empty mount point
	b, err := w.agent.CancelBackup(t.Context(), b.ID)
	t.Logf("cancel: %s %v %+v", b.State, err, b.Failure)
	must(t, os.Remove(path))
	must(t, os.Rename(path+".away", path))
	w.stop()
	w.start()
	time.Sleep(time.Second)
	if _, err := os.Stat(b.Directory); err == nil {
		t.Errorf("%s is %s without a word, and %s is there for ever", b.ID, b.State, b.Directory)
		os.RemoveAll(b.Directory)
	}
}

// A reader that was slow loses the last events and is never told.
func TestWatchMissesTheEnd(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 1<<20, 8<<20)
	w.sna.Hold("copy/1")
	b := w.startBackup("vm")
	b = w.waitFor(b.ID, func(b record.Backup) bool { return b.Runs[0].Complete })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, err := w.agent.Watch(ctx, agent.WatchQuery{BackupID: b.ID})
	must(t, err)
	for range 400 {
		_, err := w.agent.CompleteDisk(ctx, b.ID, 0, b.Runs[0].ChangeID) // the same report again, which is no error
		must(t, err)
	}
	_, err = w.agent.CancelBackup(ctx, b.ID)
	must(t, err)
	n := 0
	for {
		select {
		case e := <-events:
			n++
			if e.Kind == agent.EventDropped || e.Backup.State.Terminal() {
				return
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%d events, and neither the end nor that anything is missing", n)
		}
	}
}

func systemctl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
		t.Fatalf("systemctl %v: %v: %s", args, err, out)
	}
}

// While the bus is away and somebody watches: SBC's telemetry waits, and Close does, whatever its context says.
func TestCloseWithoutBus(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20)
	w.sna.Hold("copy/0")
	b := w.startBackup("vm")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := w.agent.Watch(ctx, agent.WatchQuery{})
	must(t, err)
	go func() {
		for range events {
		}
	}()
	systemctl(t, "stop", "dbus.socket", "dbus.service")
	defer systemctl(t, "start", "dbus.socket")
	time.Sleep(3 * time.Second)
	within(t, "telemetry", 5*time.Second, func() { _ = w.agent.Telemetry(b.ID, agent.Telemetry{At: time.Now()}) })
	closing, stop := context.WithTimeout(context.Background(), 3*time.Second)
	defer stop()
	if !within(t, "Close with a context of 3s", 15*time.Second, func() { _ = w.agent.Close(closing) }) {
		cancel()
		within(t, "Close once the watcher has gone", 15*time.Second, func() { _ = w.agent.Close(closing) })
	}
	systemctl(t, "start", "dbus.socket")
	_ = w.units.Close()
	_ = w.store.Close()
	w.start()
}

// qemu-nbd's parent exits, and nothing answers on the socket.
func TestExporterThatSaysNothing(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		must(t, os.WriteFile("/usr/local/bin/mute-nbd", []byte("#!/bin/sh\nsleep 600 &\nexit 0\n"), 0o755))
		c.NBD.QemuNBD = "/usr/local/bin/mute-nbd"
		c.NBD.StartTimeout = config.DurationOf(3 * time.Second)
		c.Deadlines.FirstConnection = config.DurationOf(5 * time.Second)
		c.Deadlines.WholeRun = config.DurationOf(10 * time.Second)
		c.NBD.StopTimeout = config.DurationOf(2 * time.Second)
	})
	w.putVM("vm", 8<<20)
	within(t, "start with start_timeout 3s, whole_run 10s", 40*time.Second, func() {
		_, err := w.agent.StartBackup(context.Background(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
		t.Logf("start: %v", err)
	})
}

// A cancel while the SNA is being connected to.
func TestCancelWhileConnecting(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, unix.Listen(fd, 0))
	sa, err := unix.Getsockname(fd)
	must(t, err)
	addr := net.JoinHostPort("127.0.0.1", itoa(sa.(*unix.SockaddrInet4).Port))
	for range 4 { // fill the backlog: later connections hang
		go func() { _, _ = net.DialTimeout("tcp", addr, time.Minute) }()
	}
	time.Sleep(300 * time.Millisecond)
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.SNA.URL = "http://" + addr })
	w.putVM("vm", 8<<20)
	go func() {
		_, err := w.agent.StartBackup(context.Background(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
		t.Logf("start: %v", err)
	}()
	var id string
	for id == "" {
		active, _ := w.store.Active()
		if len(active) == 1 && active[0].State == record.Calling {
			id = active[0].ID
		}
		time.Sleep(10 * time.Millisecond)
	}
	b, err := w.agent.CancelBackup(t.Context(), id)
	if err != nil || b.State != record.Cancelled {
		t.Errorf("cancel: %v; the backup is %s, %+v", err, b.State, b.Failure)
	}
}

// Watchers come while the agent closes, as they can: the servers still serve then.
func TestWatchWhileClosing(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		var group sync.WaitGroup
		start := make(chan struct{})
		for range 8 {
			group.Go(func() {
				<-start
				for range 50 {
					ctx, cancel := context.WithCancel(context.Background())
					if _, err := w.agent.Watch(ctx, agent.WatchQuery{}); err != nil {
						cancel()
						return
					}
					cancel()
				}
			})
		}
		close(start)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		must(t, w.agent.Close(ctx))
		cancel()
		group.Wait()
		must(t, w.units.Close())
		must(t, w.store.Close())
		w.start()
	}
}

// The image is another file at the end than the one that was served.
func TestWrongImage(t *testing.T) {
	w := newWorld(t)
	w.putVM("vm", 8<<20)
	w.sna.Hold("copy/0")
	b := w.startBackup("vm")
	other := b.Runs[0].Image + ".other"
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", other, "4M").CombinedOutput(); err != nil {
		t.Fatalf("%s", out)
	}
	must(t, os.Rename(other, b.Runs[0].Image))
	w.sna.Release("copy/0")
	if b = w.wait(b.ID); b.State == record.Completed {
		t.Errorf("an image of 4 MiB that was never served is published as the copy of a disk of 8 MiB")
	}
}

// TestRepositoryAwayWhileFinishing: the agent comes back before the repository is mounted. What was copied is not thrown
// away for that: it waits, and goes on when the repository is there.
func TestRepositoryAwayWhileFinishing(t *testing.T) {
	w := newWorld(t)
	_, sources := w.putVM("vm", 8<<20)
	w.sna.Hold("disconnect/0")
	b := w.startBackup("vm")
	w.waitFor(b.ID, func(b record.Backup) bool { return b.State == record.Finishing })
	w.stop()
	path := w.config.Repositories[0].Path
	must(t, os.Rename(path, path+".away"))
	must(t, os.Mkdir(path, 0o755)) // the empty mount point
	w.start()
	w.sna.Release("disconnect/0")
	time.Sleep(500 * time.Millisecond)
	if b, err := w.agent.Backup(b.ID); err != nil || b.State != record.Finishing {
		t.Errorf("while the repository is away the backup is %s: %v", b.State, err)
	}
	must(t, os.Remove(path))
	must(t, os.Rename(path+".away", path))
	w.completes(b, sources)
}
