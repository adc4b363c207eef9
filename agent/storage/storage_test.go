package storage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/repository"
)

// TestOperations: what package repository and qemu-img do can be asked for over a connection, with their results and errors.
func TestOperations(t *testing.T) {
	r := at("main", t.TempDir())
	ctx := t.Context()
	must(t, r.MakeDir(ctx, "vm", "vm-1"))
	if there, err := r.Exists(ctx, "vm", "vm-1"); err != nil || !there {
		t.Errorf("%v %v", there, err)
	}
	if err := r.MakeDir(ctx, "vm", "vm-1"); !errors.Is(err, fs.ErrExist) || !errors.Is(err, syscall.EEXIST) {
		t.Errorf("a directory that exists: %v", err)
	}
	if _, err := r.Manifest(ctx, "vm", "vm-1"); !errors.Is(err, repository.ErrNoManifest) {
		t.Errorf("no manifest: %v", err)
	}
	if err := r.MakeDir(ctx, "vm", "../x"); err == nil || errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that is none: %v", err)
	}
	list, err := r.Unpublished(ctx)
	if err != nil || len(list) != 1 || list[0] != (repository.Entry{VM: "vm", BackupID: "vm-1", Empty: true}) {
		t.Errorf("%v %v", list, err)
	}
	space, err := r.Space(ctx)
	var st unix.Statfs_t
	must(t, unix.Statfs(r.Path, &st))
	if err != nil || space.Total != st.Blocks*uint64(st.Frsize) {
		t.Errorf("%+v %v", space, err)
	}
	var path *fs.PathError
	if _, err := r.Stat(ctx, r.Path+"/none"); !errors.As(err, &path) || path.Path != r.Path+"/none" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	must(t, r.RemoveDir(ctx, "vm", "vm-1"))
	if err := r.Mounted(ctx); !errors.Is(err, repository.ErrEmpty) {
		t.Errorf("an empty repository: %v", err)
	}
	away := at("away", r.Path+"/none")
	if _, err := away.VMs(ctx); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a repository that is away: %v", err)
	}
}

// TestProgress: every byte of an image is reported, and no more than that.
func TestProgress(t *testing.T) {
	r := at("main", t.TempDir())
	must(t, r.MakeDir(t.Context(), "vm", "vm-1"))
	const size = 48 << 20
	must(t, os.WriteFile(filepath.Join(r.Dir("vm", "vm-1"), "a.qcow2"), make([]byte, size), 0o600))
	var total int64
	sum, err := r.Digest(t.Context(), "vm", "vm-1", "a.qcow2", ReadLimit{BytesPerSecond: 64 << 20}, func(m Movement) { n := m.Bytes; total += n })
	if err != nil || sum.Bytes != size || total != size {
		t.Errorf("%v %v: %d bytes reported", sum, err, total)
	}
}

// TestProcessEnds: what was asked of a process that ends fails, and the next question starts another process.
func TestProcessEnds(t *testing.T) {
	r := at("main", t.TempDir())
	must(t, r.MakeDir(t.Context(), "vm", "vm-1"))
	must(t, os.WriteFile(filepath.Join(r.Dir("vm", "vm-1"), "a.qcow2"), make([]byte, 32<<20), 0o600))
	go func() {
		time.Sleep(100 * time.Millisecond)
		r.mu.Lock()
		defer r.mu.Unlock()
		_ = r.link.Close()
	}()
	_, err := r.Digest(t.Context(), "vm", "vm-1", "a.qcow2", ReadLimit{BytesPerSecond: 1}, nil)
	wantError(t, err, "repository main", "its process has ended")
	_, err = r.Exists(t.Context(), "vm", "vm-1")
	must(t, err)
}

// TestHang: while the file system of a repository hangs, a request is answered within seconds, a canceled one at once, and as many requests
// as may come hold no more threads and no more goroutines. When it answers again, so does the repository.
func TestHang(t *testing.T) {
	h := mount(t)
	changed := make(chan struct{}, 9)
	r := New(Options{Spec: Spec{ID: "nas", Path: h.path}, Connect: overPipe, OnChange: func() { changed <- struct{}{} }})
	must(t, r.MakeDir(t.Context(), "vm", "vm-1"))
	go r.Watch(t.Context())
	h.stop()

	ctx, cancel := context.WithCancel(t.Context())
	waits := make(chan error, 1)
	go func() { _, err := r.Exists(ctx, "vm", "vm-1"); waits <- err }()
	err := within(t, RequestTimeout+time.Minute, func() error { _, err := r.Manifest(FailFast(t.Context()), "vm", "vm-1"); return err })
	if !IsStuck(err) {
		t.Errorf("a request: %v", err)
	}
	wantError(t, err, "repository nas does not answer since")
	cancel()
	if err := within(t, time.Minute, func() error { return <-waits }); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled operation: %v", err)
	}
	<-changed // it is known to be stuck
	if health := r.Health(); health.State != Stuck || time.Since(health.Since) < probeLimit {
		t.Errorf("%+v", health)
	}
	before := runtime.NumGoroutine()
	for range 1000 {
		if _, err := r.Space(FailFast(t.Context())); !IsStuck(err) {
			t.Fatalf("%v", err)
		}
	}
	now := runtime.NumGoroutine()
	for deadline := time.Now().Add(time.Minute); now > before+10 && time.Now().Before(deadline); now = runtime.NumGoroutine() {
		time.Sleep(10 * time.Millisecond) // a goroutine that has done its work may not have ended yet
	}
	if now > before+10 {
		t.Errorf("1000 requests: %d goroutines, were %d", now, before)
	}
	if err := within(t, time.Minute, func() error { return r.RemoveDir(UntilStuck(t.Context()), "vm", "vm-1") }); !IsStuck(err) {
		t.Errorf("cleaning up: %v", err)
	}

	h.resume()
	<-changed
	there, err := r.Exists(FailFast(t.Context()), "vm", "vm-1")
	if err != nil || !there {
		t.Errorf("after it came back: %v %v", there, err)
	}
	if health := r.Health(); health.State == Stuck {
		t.Errorf("%+v", health)
	}
}

// TestStuckCleanup: an operation that cleans up waits as long as the storage works, and not longer.
func TestStuckCleanup(t *testing.T) {
	h := mount(t)
	r := at("nas", h.path)
	must(t, r.MakeDir(t.Context(), "vm", "vm-1"))
	go r.Watch(t.Context())
	h.stop()
	began := time.Now()
	err := within(t, 2*time.Minute, func() error { return r.RemoveDir(UntilStuck(t.Context()), "vm", "vm-1") })
	// The probe that is not answered may have begun a moment before.
	if !IsStuck(err) || time.Since(began) < probeLimit/2 {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}
