package snatest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/nbd"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience limits every wait; it is long enough for a very busy machine.
const patience = 5 * time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func newServer(t *testing.T, options snatest.Options) *snatest.Server {
	t.Helper()
	options.Dir = t.TempDir()
	server, err := snatest.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

// tool is the path of a program that the tests need.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install the Debian package qemu-utils", name)
	}
	return path
}

// export is an image served by a real qemu-nbd on a plain TCP port.
type export struct {
	path, format, name string
	port               int
	command            *exec.Cmd
	stderr             bytes.Buffer
}

func serveImage(t *testing.T, path, format, name string) *export {
	t.Helper()
	return serve(t, path, format, name, "-f", format, "--discard=unmap", path)
}

// serveExact serves a qcow2 image as exports of backups are: WRITE_ZEROES fails.
func serveExact(t *testing.T, path, name string) *export {
	t.Helper()
	return serve(t, path, "qcow2", name, "--image-opts", "driver=blkdebug,image.driver=qcow2,image.file.driver=file,image.file.filename="+path+
		",image.detect-zeroes=unmap,image.discard=unmap,inject-error.0.event=none,inject-error.0.iotype=write-zeroes,inject-error.0.errno=5")
}

func serve(t *testing.T, path, format, name string, image ...string) *export {
	t.Helper()
	const attempts = 5 // the port is free when chosen, not when bound
	for range attempts {
		e := &export{path: path, format: format, name: name, port: freePort(t)}
		e.command = exec.Command(tool(t, "qemu-nbd"), append([]string{
			"-t", "-b", "127.0.0.1", "-p", fmt.Sprint(e.port), "--shared=16", "-x", name,
		}, image...)...)
		e.command.Stderr = &e.stderr
		if err := e.command.Start(); err != nil {
			t.Fatal(err)
		}
		if e.ready(t) {
			t.Cleanup(func() { e.end(t, syscall.SIGKILL) })
			return e
		}
		e.end(t, syscall.SIGKILL)
	}
	t.Fatal("qemu-nbd did not serve")
	return nil
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func (e *export) address() string { return fmt.Sprintf("127.0.0.1:%d", e.port) }

func (e *export) ready(t *testing.T) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := nbd.Probe(ctx, e.address(), e.name)
		cancel()
		if err == nil {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

func (e *export) end(t *testing.T, signal syscall.Signal) {
	if e.command.ProcessState != nil {
		return
	}
	if err := e.command.Process.Signal(signal); err != nil {
		t.Error(err)
	}
	_ = e.command.Wait() // the state is checked where it matters
}

// stop ends the export cleanly: only then all data is on the disk.
func (e *export) stop(t *testing.T) {
	t.Helper()
	e.end(t, syscall.SIGTERM)
	if !e.command.ProcessState.Success() {
		t.Errorf("qemu-nbd of %s: %v: %s", e.name, e.command.ProcessState, e.stderr.String())
	}
}

// holds stops the export and compares the image with its expected contents.
func (e *export) holds(t *testing.T, want []byte) {
	t.Helper()
	e.stop(t)
	raw := e.path
	if e.format != "raw" {
		raw = filepath.Join(t.TempDir(), "raw")
		run(t, "qemu-img", "convert", "-f", e.format, "-O", "raw", e.path, raw)
	}
	got, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d bytes instead of %d", e.name, len(got), len(want))
	}
	for at := 0; at < len(want); at += 4096 {
		end := min(at+4096, len(want))
		if !bytes.Equal(got[at:end], want[at:end]) {
			t.Fatalf("%s: differs within the 4 KiB at %d", e.name, at)
		}
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if output, err := exec.Command(tool(t, name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, output)
	}
}

func newImage(t *testing.T, format string, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	run(t, "qemu-img", "create", "-q", "-f", format, path, fmt.Sprint(size))
	return path
}

// content is a disk with data, holes, zeroes and an odd size.
func content(size int64) []byte {
	all := make([]byte, size)
	for _, part := range [][2]int64{{0, 4096}, {1 << 20, 1<<20 + 300<<10}, {size - 5*512, size}} {
		if part[1] <= size {
			_, _ = rand.Read(all[part[0]:part[1]])
		}
	}
	return all
}

// writeSource writes a source file with holes where 4 KiB blocks are zero.
func writeSource(t *testing.T, path string, all []byte) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(int64(len(all))); err != nil {
		t.Fatal(err)
	}
	zero := make([]byte, 4096)
	for at := 0; at < len(all); at += 4096 {
		part := all[at:min(at+4096, len(all))]
		if bytes.Equal(part, zero[:len(part)]) {
			continue
		}
		if _, err := file.WriteAt(part, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
}
