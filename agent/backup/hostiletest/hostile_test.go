package hostiletest_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/agenttest"
	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/events"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/ledger"
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

// TestClientComesBack: a client that connects to disk 0 after its connections were counted, while disk 1 still has a client, fails the
// backup: its exporter cannot be stopped without force.
func TestClientComesBack(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		c.Deadlines.Disconnect = config.DurationOf(10 * time.Second) // a busy machine may delay the client that comes back
	})
	w.PutVM("vm", 8<<20, 8<<20)
	w.SNA.Hold("disconnect/1")
	b := w.StartBackup("vm")
	w.WaitFor(b.ID, func(b record.Backup) bool { return b.State == record.Finishing })
	time.Sleep(500 * time.Millisecond)
	c, err := nbd.Dial(t.Context(), net.JoinHostPort("127.0.0.1", agenttest.Itoa(int(b.Runs[0].Port))), b.Runs[0].ExportName)
	agenttest.Must(t, err)
	defer c.Close()
	_, err = c.WriteAt(make([]byte, 1<<20), 0) // overwrites the copy
	agenttest.Must(t, err)
	w.SNA.Release("disconnect/1")
	if b = w.Wait(b.ID); b.State == record.Completed {
		t.Errorf("published although a client was connected to disk 0 and writing when its exporter was stopped")
	}
}

// TestDirectoryThatWasThere: an undo does not remove a directory that the backup did not make.
func TestDirectoryThatWasThere(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	w.PutVM("vm", 1<<20)
	now := time.Now().Unix()
	var dirs []string
	for s := range int64(120) { // of the seconds in which the start may come
		dir := filepath.Join(w.Config.Repositories[0].Path, nbd.DirName("vm"), nbd.BackupID("vm", now+s))
		agenttest.Must(t, os.MkdirAll(dir, 0o755))
		agenttest.Must(t, os.WriteFile(filepath.Join(dir, "precious.qcow2"), []byte("x"), 0o644))
		dirs = append(dirs, dir)
	}
	_, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
	if err == nil {
		t.Error("a backup was started in a directory that it did not make")
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "precious.qcow2")); err != nil {
			t.Errorf("undo removed what the backup had not made: %v", err)
		}
	}
	for _, dir := range dirs {
		os.RemoveAll(dir)
	}
}

// TestAutoOfAGoneCaller: a caller that hangs up while the parent is proved does not turn an incremental into a full backup.
func TestAutoOfAGoneCaller(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20)
	full := w.Point("vm", record.Auto)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.Agent.Backups.Start(ctx, backup.Request{VMName: "vm", Type: record.Auto, Repository: "main"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("start: %v", err)
	}
	list, _, err := w.Agent.Records.List(ledger.ListQuery{VMName: "vm"})
	agenttest.Must(t, err)
	if list[0].ID != full.ID && list[0].Type == record.Full {
		t.Errorf("auto became %s although the parent is sound; the caller had only hung up", list[0].Type)
	}
	for _, b := range list {
		w.Wait(b.ID)
	}
}

// TestRepositorySpelledOtherwise: a repository whose configured path leads to the same directory through a link can be used.
func TestRepositorySpelledOtherwise(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20)
	w.Point("vm", record.Full)
	w.Stop()
	link := filepath.Join(w.Dir, "link")
	agenttest.Must(t, os.Symlink(w.Config.Repositories[0].Path, link))
	w.Config.Repositories[0].Path = link
	w.Start()
	b, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "vm", Type: record.Auto, Repository: "main"})
	if err != nil {
		t.Errorf("auto: %v", err)
		return
	}
	b = w.Wait(b.ID)
	if b.State != record.Completed {
		t.Errorf("it is %s: %+v", b.State, b.Failure)
	}
}

// TestQueueHeadNeverFits: a queued backup that needs more exports than the limit, since that was lowered, fails and blocks no other.
func TestQueueHeadNeverFits(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.Limits.MaxExports = 3 })
	w.PutVM("first", 8<<20)
	w.PutVM("large", 1<<20, 1<<20, 1<<20)
	w.PutVM("small", 1<<20)
	w.SNA.Hold("copy/0")
	first := w.StartBackup("first")
	large, err := w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "large", Type: record.Full, Repository: "main", Queue: true})
	agenttest.Must(t, err)
	w.Stop()
	w.Config.Limits.MaxExports = 2
	w.Start()
	w.SNA.Release("copy/0")
	w.Wait(first.ID)
	if large = w.Wait(large.ID); large.State != record.Failed {
		t.Errorf("the head of the queue waits for ever: %s", large.State)
	}
	if _, err = w.Agent.Backups.Start(t.Context(), backup.Request{VMName: "small", Type: record.Full, Repository: "main"}); err != nil {
		t.Errorf("nothing runs, and a backup of one disk is refused: %v", err)
	}
}

// TestUndoWithoutRepository: what an undo leaves because the repository is not mounted is removed once it is mounted again.
func TestUndoWithoutRepository(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20)
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	path := w.Config.Repositories[0].Path
	agenttest.Must(t, os.Rename(path, path+".away"))
	agenttest.Must(t, os.Mkdir(path, 0o755)) // the empty mount point
	b, err := w.Agent.Backups.Cancel(t.Context(), b.ID)
	if err != nil || b.State != record.Cancelled {
		t.Errorf("cancel: %v; it is %s, %+v", err, b.State, b.Failure)
	}
	agenttest.Must(t, os.Remove(path))
	agenttest.Must(t, os.Rename(path+".away", path))
	w.Stop()
	w.Start()
	w.Eventually(b.Directory+" is removed", func() bool {
		_, err := os.Stat(b.Directory)
		return errors.Is(err, os.ErrNotExist)
	})
}

// TestWatchMissesTheEnd: a slow reader that lost the last events is told so.
func TestWatchMissesTheEnd(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	w.PutVM("vm", 1<<20, 8<<20)
	w.SNA.Hold("copy/1")
	b := w.StartBackup("vm")
	b = w.WaitFor(b.ID, func(b record.Backup) bool { return b.Runs[0].Complete })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := w.Agent.Watch(ctx, events.Query{BackupID: b.ID})
	agenttest.Must(t, err)
	for range 400 {
		_, err := w.Agent.Clients.Complete(ctx, b.ID, 0, b.Runs[0].ChangeID) // the same report again, which is no error
		agenttest.Must(t, err)
	}
	_, err = w.Agent.Backups.Cancel(ctx, b.ID)
	agenttest.Must(t, err)
	n := 0
	for {
		select {
		case e := <-stream:
			n++
			if e.Kind == events.Dropped || e.Backup.State.Terminal() {
				return
			}
		case <-time.After(time.Minute):
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

// TestCloseWithoutBus: without a bus, and with a watcher, telemetry is answered and Close keeps to its context.
func TestCloseWithoutBus(t *testing.T) {
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20)
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := w.Agent.Watch(ctx, events.Query{})
	agenttest.Must(t, err)
	go func() {
		for range stream {
		}
	}()
	systemctl(t, "stop", "dbus.socket", "dbus.service")
	defer systemctl(t, "start", "dbus.socket")
	time.Sleep(3 * time.Second)
	within(t, "telemetry", time.Minute, func() { _ = w.Agent.Clients.Telemetry(b.ID, record.Telemetry{At: time.Now()}) })
	asking, stop := context.WithTimeout(context.Background(), time.Second)
	defer stop()
	_, err = w.Agent.ListExports(asking)
	hasReason(t, err, fault.SystemdFailed, "dbus.service")
	closing, stop := context.WithTimeout(context.Background(), 3*time.Second)
	defer stop()
	if !within(t, "Close with a context of 3s", time.Minute, func() { _ = w.Agent.Close(closing) }) {
		cancel()
		within(t, "Close once the watcher has gone", time.Minute, func() { _ = w.Agent.Close(closing) })
	}
	systemctl(t, "start", "dbus.socket")
	_ = w.Units.Close()
	_ = w.Store.Close()
	w.Start()
}

// TestExporterThatSaysNothing: a start fails in time when qemu-nbd's parent exits and nothing answers on the socket.
func TestExporterThatSaysNothing(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) {
		agenttest.Must(t, os.WriteFile("/usr/local/bin/mute-nbd", []byte("#!/bin/sh\nsleep 600 &\nexit 0\n"), 0o755))
		c.NBD.QemuNBD = "/usr/local/bin/mute-nbd"
		c.NBD.StartTimeout = config.DurationOf(3 * time.Second)
		c.Deadlines.FirstConnection = config.DurationOf(5 * time.Second)
		c.Deadlines.WholeRun = config.DurationOf(10 * time.Second)
		c.NBD.StopTimeout = config.DurationOf(2 * time.Second)
	})
	w.PutVM("vm", 8<<20)
	within(t, "start with start_timeout 3s, whole_run 10s", 3*time.Minute, func() {
		_, err := w.Agent.Backups.Start(context.Background(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
		if err == nil {
			t.Error("a backup was started although its exporter does not answer")
		}
	})
}

// TestCancelWhileConnecting: a backup can be canceled while the agent connects to the SNA.
func TestCancelWhileConnecting(t *testing.T) {
	t.Parallel()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	agenttest.Must(t, err)
	defer unix.Close(fd)
	agenttest.Must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	agenttest.Must(t, unix.Listen(fd, 0))
	sa, err := unix.Getsockname(fd)
	agenttest.Must(t, err)
	addr := net.JoinHostPort("127.0.0.1", agenttest.Itoa(sa.(*unix.SockaddrInet4).Port))
	for err == nil { // fill the backlog: later connections hang
		_, err = net.DialTimeout("tcp", addr, time.Second)
	}
	w := agenttest.New(t, func(c *config.Config, _ *snatest.Options) { c.SNA.URL = "http://" + addr })
	w.PutVM("vm", 8<<20)
	answer := make(chan error, 1)
	go func() {
		_, err := w.Agent.Backups.Start(context.Background(), backup.Request{VMName: "vm", Type: record.Full, Repository: "main"})
		answer <- err
	}()
	var id string
	for id == "" {
		active, _ := w.Store.Active()
		if len(active) == 1 && active[0].State == record.Calling {
			id = active[0].ID
		}
		time.Sleep(10 * time.Millisecond)
	}
	b, err := w.Agent.Backups.Cancel(t.Context(), id)
	if err != nil || b.State != record.Cancelled {
		t.Errorf("cancel: %v; the backup is %s, %+v", err, b.State, b.Failure)
	}
	agenttest.WantError(t, <-answer, fault.WrongState, "canceled")
}

// TestWatchWhileClosing: watchers that come while the agent closes block nothing, for the servers still serve then.
func TestWatchWhileClosing(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	for range 20 {
		var group sync.WaitGroup
		start := make(chan struct{})
		for range 8 {
			group.Go(func() {
				<-start
				for range 50 {
					ctx, cancel := context.WithCancel(context.Background())
					if _, err := w.Agent.Watch(ctx, events.Query{}); err != nil {
						cancel()
						return
					}
					cancel()
				}
			})
		}
		close(start)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		agenttest.Must(t, w.Agent.Close(ctx))
		cancel()
		group.Wait()
		agenttest.Must(t, w.Units.Close())
		agenttest.Must(t, w.Store.Close())
		w.Start()
	}
}

// TestWrongImage: a backup fails when its image was replaced by another file.
func TestWrongImage(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	w.PutVM("vm", 8<<20)
	w.SNA.Hold("copy/0")
	b := w.StartBackup("vm")
	other := b.Runs[0].Image + ".other"
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", other, "4M").CombinedOutput(); err != nil {
		t.Fatalf("%s", out)
	}
	agenttest.Must(t, os.Rename(other, b.Runs[0].Image))
	w.SNA.Release("copy/0")
	if b = w.Wait(b.ID); b.State == record.Completed {
		t.Errorf("an image of 4 MiB that was never served is published as the copy of a disk of 8 MiB")
	}
}

// TestRepositoryAwayWhileFinishing: when the agent is restarted before the repository is mounted, the backup waits for it and then
// completes.
func TestRepositoryAwayWhileFinishing(t *testing.T) {
	t.Parallel()
	w := agenttest.New(t)
	_, sources := w.PutVM("vm", 8<<20)
	w.SNA.Hold("disconnect/0")
	b := w.StartBackup("vm")
	w.WaitFor(b.ID, func(b record.Backup) bool { return b.State == record.Finishing })
	w.Stop()
	path := w.Config.Repositories[0].Path
	agenttest.Must(t, os.Rename(path, path+".away"))
	agenttest.Must(t, os.Mkdir(path, 0o755)) // the empty mount point
	w.Start()
	w.SNA.Release("disconnect/0")
	time.Sleep(500 * time.Millisecond)
	if b, err := w.Agent.Records.Backup(b.ID); err != nil || b.State != record.Finishing {
		t.Errorf("while the repository is away the backup is %s: %v", b.State, err)
	}
	agenttest.Must(t, os.Remove(path))
	agenttest.Must(t, os.Rename(path+".away", path))
	w.Completes(b, sources)
}
