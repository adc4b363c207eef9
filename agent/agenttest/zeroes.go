package agenttest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/backup"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/nbd"
)

const (
	// SampledBytes is the size of the disk that copySampled copies.
	SampledBytes = 96<<20 + 512
	SampledChunk = 32 << 20 // bytes of the largest request of SBC
)

// copySampled copies a source as SBC does in a full copy (contract §5): three workers at multiples of 512 bytes. Where five samples are
// zero, it sends WRITE_ZEROES, and the data if that is refused. It returns how many requests for zeroes were accepted and refused.
func copySampled(t testing.TB, source, addr, exportName string) (accepted, refused int) {
	t.Helper()
	f, err := os.Open(source)
	Must(t, err)
	defer f.Close()
	var mu sync.Mutex
	var workers sync.WaitGroup
	for i := range int64(3) {
		c, err := nbd.Dial(t.Context(), addr, exportName)
		Must(t, err)
		third := c.Info.SizeBytes / 3 / 512 * 512
		begin, end := i*int64(third), (i+1)*int64(third)
		if i == 2 {
			end = SampledBytes
		}
		workers.Go(func() {
			defer c.Conn.Close() // without a disconnect request, as SBC
			data := make([]byte, SampledChunk)
			for at := begin; at < end; at += SampledChunk {
				data = data[:min(SampledChunk, end-at)]
				if looksZero(f, at, int64(len(data))) {
					err := c.WriteZeroes(at, int64(len(data)))
					mu.Lock()
					if err == nil {
						accepted++
					} else {
						refused++
					}
					mu.Unlock()
					if err == nil {
						continue
					}
					if !errors.Is(err, syscall.EIO) {
						t.Errorf("zeroes are refused with %v", err)
					}
				}
				if _, err := f.ReadAt(data, at); err != nil && !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				if _, err := c.WriteAt(data, at); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	return accepted, refused
}

// looksZero reports whether five samples of 8 KiB are zero.
func looksZero(f io.ReaderAt, at, length int64) bool {
	const sample = 8 << 10
	if length < 4<<20 {
		return false
	}
	got := make([]byte, sample)
	for i := range int64(5) {
		if _, err := f.ReadAt(got, at+i*(length-sample)/4); err != nil || !bytes.Equal(got, make([]byte, sample)) {
			return false
		}
	}
	return true
}

// A sampledCopy is the result of a copy by CopySampledBackup.
type sampledCopy struct {
	Backup            record.Backup
	Accepted, Refused int
	Identical         bool
	Taken             int64
}

// CopySampledBackup starts a backup and copies the source of its one disk as SBC does. The simulated client waits meanwhile.
func (w *World) CopySampledBackup(req backup.Request, source string) (c sampledCopy) {
	w.Helper()
	w.SNA.Hold("disk/0")
	defer w.SNA.Release("disk/0")
	var err error
	c.Backup, err = w.Agent.Backups.Start(w.Context(), req)
	Must(w.TB, err)
	_, err = w.SNA.WaitHeld(w.Context(), c.Backup.ID, "disk/0")
	Must(w.TB, err)
	run := c.Backup.Runs[0]
	addr := net.JoinHostPort(w.Config.NBD.Host, Itoa(int(run.Port)))
	c.Accepted, c.Refused = copySampled(w.TB, source, addr, run.ExportName)
	conn, err := nbd.Dial(w.Context(), addr, run.ExportName)
	Must(w.TB, err)
	defer conn.Conn.Close()
	want, err := os.ReadFile(source)
	Must(w.TB, err)
	got := make([]byte, len(want))
	_, err = conn.ReadAt(got, 0)
	Must(w.TB, err)
	c.Identical = bytes.Equal(got, want)
	var st unix.Stat_t
	Must(w.TB, unix.Stat(run.Image, &st))
	c.Taken = st.Blocks * 512
	return c
}
