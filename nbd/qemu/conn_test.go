package qemu

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/nbd"
)

func dial(t *testing.T, s *server) *nbd.Conn {
	t.Helper()
	conn, err := nbd.Dial(testContext(t), s.addr, "vm-disk0")
	if err != nil {
		t.Fatalf("%v: %s", err, s.stderr)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestWriteStopRead is a small backup: write as SBC does, without a flush, end
// the server cleanly, and find all data in the image.
func TestWriteStopRead(t *testing.T) {
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), 80*MiB)
	options := ServerOptions{Image: path, Export: "vm-disk0"}
	data := make([]byte, 33*MiB) // more than the limit of one request
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(data)
	s := startServer(t, options)
	conn := dial(t, s)
	if n, err := conn.WriteAt(data, 3*MiB); n != len(data) || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if err := conn.WriteZeroes(4*MiB, 40*MiB); err != nil {
		t.Fatal(err)
	}
	clear(data[MiB:])
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	wantEstablished(t, s.port, 0)
	if err := s.stop(); err != nil {
		t.Fatalf("%v: %s", err, s.stderr)
	}
	if result, err := (Tools{}).Check(testContext(t), path); err != nil || result.Leaks != 0 {
		t.Errorf("%+v, %v", result, err)
	}
	options.ReadOnly = true
	s = startServer(t, options)
	conn = dial(t, s)
	got := make([]byte, len(data))
	if n, err := conn.ReadAt(got, 3*MiB); n != len(got) || err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d, %v, equal %v", n, err, bytes.Equal(got, data))
	}
	if _, err := conn.WriteAt(data[:512], 0); !errors.Is(err, syscall.EROFS) {
		t.Errorf("write to a read-only export: %v", err)
	}
	if err := conn.WriteZeroes(0, 512); !errors.Is(err, syscall.EROFS) {
		t.Errorf("zeroes to a read-only export: %v", err)
	}
	// After the server has refused a request, the connection still works: the same again without our check.
	conn.Info.Flags &^= nbd.FlagReadOnly
	var command *nbd.CommandError
	if _, err := conn.WriteAt(data[:512], 0); !errors.As(err, &command) || command.Err == 0 {
		t.Errorf("the server takes a write to a read-only export: %v", err)
	}
	if _, err := conn.ReadAt(got[:512], 3*MiB); err != nil {
		t.Error(err)
	}
}

func TestManyConnections(t *testing.T) {
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), 16*MiB)
	s := startServer(t, ServerOptions{Image: path, Export: "vm-disk0"})
	var group sync.WaitGroup
	for worker := range 10 {
		conn := dial(t, s)
		group.Go(func() {
			block := bytes.Repeat([]byte{byte(worker + 1)}, 64<<10)
			for i := range 10 {
				if _, err := conn.WriteAt(block, int64(i*10+worker)*int64(len(block))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	wantEstablished(t, s.port, 10)
	conn := dial(t, s)
	got := make([]byte, 100*64<<10)
	if _, err := conn.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if got[i*64<<10] != byte(i%10+1) {
			t.Fatalf("block %d holds %d", i, got[i*64<<10])
		}
	}
}

func TestOneConnectionManyGoroutines(t *testing.T) {
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), 4*MiB)
	conn := dial(t, startServer(t, ServerOptions{Image: path, Export: "vm-disk0"}))
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			block := bytes.Repeat([]byte{byte(worker + 1)}, 4096)
			got := make([]byte, len(block))
			for range 20 {
				if _, err := conn.WriteAt(block, int64(worker)*4096); err != nil {
					t.Error(err)
				}
				if _, err := conn.ReadAt(got, int64(worker)*4096); err != nil || !bytes.Equal(got, block) {
					t.Errorf("%v", err)
				}
			}
		})
	}
	group.Wait()
}

func TestBounds(t *testing.T) {
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), MiB)
	conn := dial(t, startServer(t, ServerOptions{Image: path, Export: "vm-disk0"}))
	buffer := make([]byte, 1024)
	for _, offset := range []int64{-1, MiB - 512, MiB + 1, 1<<63 - 1} {
		if _, err := conn.WriteAt(buffer, offset); err == nil {
			t.Errorf("write at %d", offset)
		}
		if _, err := conn.ReadAt(buffer, offset); err == nil {
			t.Errorf("read at %d", offset)
		}
		if err := conn.WriteZeroes(offset, 1024); err == nil {
			t.Errorf("zeroes at %d", offset)
		}
	}
	if err := conn.WriteZeroes(0, -1); err == nil {
		t.Error("zeroes of negative length")
	}
	if _, err := conn.WriteAt(nil, MiB); err != nil {
		t.Error(err)
	}
	if _, err := conn.WriteAt(buffer, MiB-1024); err != nil {
		t.Error(err)
	}
}

func TestAfterClose(t *testing.T) {
	path := newImage(t, filepath.Join(tempDir(t), "a.qcow2"), MiB)
	s := startServer(t, ServerOptions{Image: path, Export: "vm-disk0"})
	conn := dial(t, s)
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if _, err := conn.WriteAt(make([]byte, 512), 0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	conn = dial(t, s)
	if err := s.stop(); err != nil { // the server ends first, as after a cancel
		t.Error(err)
	}
	_, first := conn.WriteAt(make([]byte, 512), 0)
	_, second := conn.WriteAt(make([]byte, 512), 0)
	if first == nil || second == nil || first.Error() != second.Error() {
		t.Errorf("%v, then %v", first, second)
	}
}
