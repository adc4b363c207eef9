package qemu

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/sockets"
)

func TestProbe(t *testing.T) {
	ctx := testContext(t)
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), 8*MiB)
	s := startServer(t, ServerOptions{Image: path, Export: "test-vm-disk0", Description: "backup-test-vm-1, ünïcode"})
	info, err := nbd.Probe(ctx, s.addr, "test-vm-disk0")
	if err != nil {
		t.Fatal(err)
	}
	if info.SizeBytes != 8*MiB || info.ReadOnly() || !info.MultiConn() || info.MaxBlock != 32*MiB || info.MinBlock == 0 {
		t.Errorf("%+v", info)
	}
	if info.Description != "backup-test-vm-1, ünïcode" {
		t.Errorf("description %q", info.Description)
	}
	if n, err := sockets.Established(s.port); n != 0 || err != nil {
		t.Errorf("the probe is still counted: %d, %v", n, err)
	}
	for _, other := range []string{"test-vm-disk1", "", "test-vm-disk00", "TEST-VM-DISK0"} {
		_, err := nbd.Probe(ctx, s.addr, other)
		var option *nbd.OptionError
		if !errors.Is(err, nbd.ErrNoSuchExport) || !errors.As(err, &option) || option.Message == "" {
			t.Errorf("%q: %v", other, err)
		}
	}
	if _, err := nbd.Probe(ctx, s.addr, strings.Repeat("x", 5000)); err == nil {
		t.Error("a name longer than the protocol allows was sent")
	}
}

// TestProbeIsQuick fails when the delayed acknowledgement is back: every probe takes 44 ms then. What else delays some of them is the
// machine.
func TestProbeIsQuick(t *testing.T) {
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), 8*MiB)
	s := startServer(t, ServerOptions{Image: path, Export: "vm-disk0"})
	ctx := testContext(t)
	var times []time.Duration
	for quick := 0; quick < 3; {
		start := time.Now()
		if _, err := nbd.Probe(ctx, s.addr, "vm-disk0"); err != nil {
			t.Fatalf("%v; the probes before took %v", err, times)
		}
		took := time.Since(start)
		times = append(times, took)
		if took < 20*time.Millisecond {
			quick++
		}
	}
	slices.Sort(times)
	t.Logf("%d probes, median %v", len(times), times[len(times)/2])
}

func TestProbeOfABadImage(t *testing.T) {
	s := startServer(t, ServerOptions{Image: "/nonexistent/a.qcow2", Export: "vm-disk0"})
	_, err := nbd.Probe(testContext(t), s.addr, "vm-disk0")
	if !errors.Is(err, nbd.ErrClosedEarly) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	if err := s.wait(); err == nil || !strings.Contains(s.stderr.String(), "/nonexistent/a.qcow2") {
		t.Errorf("%v: %s", err, s.stderr)
	}
}

// TestProbeWhenAllConnectionsAreTaken: qemu-nbd does not answer a client beyond its limit.
func TestProbeWhenAllConnectionsAreTaken(t *testing.T) {
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), 8*MiB)
	s := startServer(t, ServerOptions{Image: path, Export: "vm-disk0", Shared: 2})
	for range 2 {
		conn, err := nbd.Dial(testContext(t), s.addr, "vm-disk0")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := nbd.Probe(ctx, s.addr, "vm-disk0"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
