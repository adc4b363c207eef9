package agent_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent"
	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/sna/snatest"
	"github.com/sendense/backup-agent/nbd"
)

const (
	sampledBytes = 96<<20 + 512
	sampledChunk = 32 << 20 // largest request of SBC
)

// betweenSamples makes a disk whose data lies where SBC does not look: blocks of all sizes between the five samples of each chunk.
func betweenSamples(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(sampledBytes))
	for chunk := int64(0); chunk+sampledChunk <= sampledBytes; chunk += sampledChunk {
		for i, n := range []int64{512, 4096, 64 << 10, 1 << 20} {
			data := make([]byte, n)
			_, _ = rand.Read(data)
			_, err := f.WriteAt(data, chunk+int64(i)*sampledChunk/4+3<<20+512)
			must(t, err)
		}
	}
}

// copySampled copies a source as SBC does in a full copy (contract §5): three workers at multiples of 512 bytes, zeroes where five
// samples are zero, and the data where that is refused. It returns how many requests for zeroes were accepted and refused.
func copySampled(t testing.TB, source, addr, export string) (accepted, refused int) {
	t.Helper()
	f, err := os.Open(source)
	must(t, err)
	defer f.Close()
	var mu sync.Mutex
	var workers sync.WaitGroup
	for i := range int64(3) {
		c, err := nbd.Dial(t.Context(), addr, export)
		must(t, err)
		third := c.Info.SizeBytes / 3 / 512 * 512
		begin, end := i*int64(third), (i+1)*int64(third)
		if i == 2 {
			end = sampledBytes
		}
		workers.Go(func() {
			defer c.Conn.Close() // without a word, as SBC
			data := make([]byte, sampledChunk)
			for at := begin; at < end; at += sampledChunk {
				data = data[:min(sampledChunk, end-at)]
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

// looksZero looks at five samples of 8 KiB.
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

// A sampledCopy is what became of a disk that was copied as SBC does.
type sampledCopy struct {
	backup            record.Backup
	accepted, refused int
	identical         bool
	taken             int64
}

// copySampledBackup starts a backup and copies the source of its one disk as SBC does, while the simulated client waits.
func (w *world) copySampledBackup(req agent.StartRequest, source string) (c sampledCopy) {
	w.Helper()
	w.sna.Hold("disk/0")
	defer w.sna.Release("disk/0")
	var err error
	c.backup, err = w.agent.StartBackup(w.Context(), req)
	must(w.TB, err)
	_, err = w.sna.WaitHeld(w.Context(), c.backup.ID, "disk/0")
	must(w.TB, err)
	run := c.backup.Runs[0]
	addr := net.JoinHostPort(w.config.NBD.Host, itoa(int(run.Port)))
	c.accepted, c.refused = copySampled(w.TB, source, addr, run.ExportName)
	conn, err := nbd.Dial(w.Context(), addr, run.ExportName)
	must(w.TB, err)
	defer conn.Conn.Close()
	want, err := os.ReadFile(source)
	must(w.TB, err)
	got := make([]byte, len(want))
	_, err = conn.ReadAt(got, 0)
	must(w.TB, err)
	c.identical = bytes.Equal(got, want)
	var st unix.Stat_t
	must(w.TB, unix.Stat(run.Image, &st))
	c.taken = st.Blocks * 512
	return c
}

// TestSampledZeroes: a client that asks for zeroes where it has looked at samples only loses nothing, and what is zero takes no
// room, however the images are written.
func TestSampledZeroes(t *testing.T) {
	giveKeys(t, map[string]string{"key-1": firstKey})
	for name, configure := range map[string]func(*config.Config, *snatest.Options){
		"plain":     func(*config.Config, *snatest.Options) {},
		"limited":   func(c *config.Config, _ *snatest.Options) { c.Repositories[0].RateLimit = config.SizeOf(1 << 30) },
		"encrypted": encrypted("key-1"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, configure)
			_, sources := w.putVM("vm", sampledBytes)
			for _, kind := range []record.Type{record.Full, record.Incremental} {
				betweenSamples(t, sources[0])
				c := w.copySampledBackup(agent.StartRequest{VMName: "vm", Type: kind, Repository: "main"}, sources[0])
				if c.refused == 0 || c.accepted != 0 || !c.identical {
					t.Errorf("%s: %d requests for zeroes refused, %d accepted, identical %v", kind, c.refused, c.accepted, c.identical)
				}
				// Of 100 MiB, 12 runs of 3.2 MiB hold data; an incremental has to cover the runs of its parent besides.
				if c.taken > 16<<20 {
					t.Errorf("%s: the image takes %d bytes", kind, c.taken)
				}
				if b := w.wait(c.backup.ID); b.State != record.Completed {
					t.Fatalf("%s: %s: %+v", kind, b.State, b.Failure)
				}
				r := w.serve(agent.RestoreRequest{BackupID: c.backup.ID})
				w.compareServed(r, sources)
				w.stopRestore(r.ID)
			}
		})
	}
}

// TestZeroesAreAccepted where the configuration says so, and the agent's status warns of it. The disk is one of which the
// sampling client then loses something.
func TestZeroesAreAccepted(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.SNA.AcceptWriteZeroes = true })
	_, sources := w.putVM("vm", sampledBytes)
	betweenSamples(t, sources[0])
	c := w.copySampledBackup(agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"}, sources[0])
	if c.accepted == 0 || c.refused != 0 || c.identical {
		t.Errorf("%d requests for zeroes accepted, %d refused, identical %v", c.accepted, c.refused, c.identical)
	}
	w.wait(c.backup.ID)
	if got := w.agent.Status(t.Context()).Warnings; !slices.Contains(got, agent.WarnZeroes) {
		t.Errorf("the status warns of %q", got)
	}
}

// TestNothingStandsOnAcceptedZeroes: what was copied while zeroes were accepted may lack data, and an incremental would lack it too.
func TestNothingStandsOnAcceptedZeroes(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) { c.SNA.AcceptWriteZeroes = true })
	_, sources := w.putVM("vm", sampledBytes)
	betweenSamples(t, sources[0])
	full := w.point("vm", record.Full)
	if b := w.point("vm", record.Incremental); b.Parent != full.ID { // its client is known to be exact
		t.Errorf("the incremental stands on %q, not on %s", b.Parent, full.ID)
	}

	w.stop()
	w.config.SNA.AcceptWriteZeroes = false
	w.start()
	request := agent.StartRequest{VMName: "vm", Type: record.Incremental, Repository: "main"}
	_, err := w.agent.StartBackup(t.Context(), request)
	if e := agent.AsError(err); err == nil || e.Reason != agent.NoParent || !strings.Contains(e.Message, "may lack data") || e.Hint == "" {
		t.Errorf("an incremental: %+v", err)
	}
	exact := w.point("vm", record.Auto)
	if exact.Type != record.Full || !strings.Contains(exact.FullWhy, "may lack data") || !exact.ZeroesRefused {
		t.Errorf("auto made %s, as %q, refused %v", exact.Type, exact.FullWhy, exact.ZeroesRefused)
	}
	w.comparePoint(exact, sources)
	if b := w.point("vm", record.Incremental); b.Parent != exact.ID || !b.ZeroesRefused {
		t.Errorf("the next incremental stands on %q, not on %s, refused %v", b.Parent, exact.ID, b.ZeroesRefused)
	}
}

// TestZeroesCannotBeRefused: a QEMU that may not use the driver that refuses zeroes serves nothing, and the error says what to do.
func TestZeroesCannotBeRefused(t *testing.T) {
	w := newWorld(t, func(c *config.Config, _ *snatest.Options) {
		// The real one, asked for a driver that it does not have.
		c.NBD.QemuNBD = "/usr/local/bin/qemu-nbd-without"
		must(t, os.WriteFile(c.NBD.QemuNBD, []byte(`#!/bin/sh
n=$#; i=0
while [ $i -lt $n ]; do a=$1; shift; i=$((i+1)); set -- "$@" "$(printf %s "$a" | sed 's/"blkdebug"/"blkdebug-is-not-built"/g')"; done
exec /usr/bin/qemu-nbd "$@"
`), 0o755))
	})
	w.putVM("vm", 8<<20, 8<<20)
	_, err := w.agent.StartBackup(t.Context(), agent.StartRequest{VMName: "vm", Type: record.Full, Repository: "main"})
	e := wantError(t, err, agent.ExporterFailed, "this QEMU cannot refuse WRITE_ZEROES")
	if e.Hint != agent.RefusalHint || !strings.Contains(strings.Join(e.Journal, "\n"), "Unknown driver") {
		t.Errorf("hint %q, journal %q", e.Hint, e.Journal)
	}
	if n := len(w.sna.State().Posts); n != 0 {
		t.Errorf("the SNA was asked %d times", n)
	}
	w.clean()
}

// TestRestoresAcceptZeroes: a writable restore's client is no SBC, and may ask for zeroes.
func TestRestoresAcceptZeroes(t *testing.T) {
	w := newWorld(t)
	_, sources := w.putVM("vm", 8<<20)
	b := w.point("vm", record.Full)
	r := w.serve(agent.RestoreRequest{BackupID: b.ID, Writable: true})
	c, err := nbd.Dial(t.Context(), net.JoinHostPort(w.config.NBD.Host, itoa(int(r.Disks[0].Port))), r.Disks[0].ExportName)
	must(t, err)
	must(t, c.WriteZeroes(0, 8<<20))
	got := make([]byte, 8<<20)
	_, err = c.ReadAt(got, 0)
	must(t, errors.Join(err, c.Close()))
	if !bytes.Equal(got, make([]byte, len(got))) {
		t.Error("zeroes that were accepted are not read")
	}
	w.stopRestore(r.ID)
	w.compare(sources[0], b.Runs[0].Image)
}
