package qemu

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/sendense/backup-agent/nbd"
)

// TestZeroesAreRefused: every WRITE_ZEROES gets EIO, for all sizes, offsets and flags, and changes nothing on the disk. All other
// requests work.
func TestZeroesAreRefused(t *testing.T) {
	for _, test := range refusingCases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, c := serveRefusing(t, test.options(t, tempDir(t)))
			if c.Info.SizeBytes != refusingBytes || c.Info.MaxBlock != nbd.MaxPayload || c.Info.MinBlock > 512 || !c.Info.MultiConn() || c.Info.Flags&nbd.FlagSendFlush == 0 {
				t.Errorf("the export is %+v", c.Info)
			}
			data := random(1, 33*MiB)
			s.write(t, c, 512, data)
			for _, length := range []uint32{512, 4096, 64<<10 - 512, 64 << 10, MiB, 4*MiB + 512, 32 * MiB, 33 * MiB} {
				for _, at := range []uint64{0, 512, 64 << 10, 44739072, refusingBytes - uint64(length)} {
					for _, flags := range []uint16{0, cmdFlagNoHole, cmdFlagFUA, cmdFlagFUA | cmdFlagNoHole} {
						if got := command(t, c, flags, cmdWriteZeroes, at, length); got != syscall.EIO {
							t.Errorf("%d zeroes at %d, flags %d: %v", length, at, flags, got)
						}
					}
					// For a client that only accepts fast zeroes, any error will do.
					if got := command(t, c, cmdFlagFastZero, cmdWriteZeroes, at, length); got == 0 {
						t.Errorf("%d fast zeroes at %d are done", length, at)
					}
				}
				holds(t, c, 512, data[:MiB])
			}
			holds(t, c, 0, make([]byte, 512))
			holds(t, c, 512, data)
			holds(t, c, 512+int64(len(data)), make([]byte, MiB))
			if err := c.Flush(); err != nil {
				t.Error(err)
			}
			if got := command(t, c, 0, cmdTrim, MiB, 2*MiB); got != 0 {
				t.Errorf("trim: %v", got)
			}
			for i := range 4 { // still refused after all the others
				if got := command(t, c, 0, cmdWriteZeroes, uint64(i)*MiB, MiB); got != syscall.EIO {
					t.Errorf("zeroes: %v", got)
				}
			}
		})
	}
}

// TestWrittenZeroesTakeNoRoom: neither on an empty disk nor over data, and also inside a request of 32 MiB.
func TestWrittenZeroesTakeNoRoom(t *testing.T) {
	for _, test := range refusingCases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := test.options(t, tempDir(t))
			s, c := serveRefusing(t, o)
			empty := takes(t, o.Image)
			zeroes := make([]byte, 32*MiB)
			for at := int64(0); at < refusingBytes; at += int64(len(zeroes)) {
				s.write(t, c, at, zeroes)
			}
			if got := takes(t, o.Image) - empty; got > tables {
				t.Errorf("zeroes take %d bytes", got)
			}
			mixed := bytes.Clone(zeroes)
			copy(mixed[8*MiB+512:], random(2, MiB))
			s.write(t, c, 32*MiB, mixed)
			took := takes(t, o.Image) - empty
			if took < MiB || took > MiB+2*pieceBytes+tables {
				t.Errorf("1 MiB of data in 32 MiB of zeroes takes %d bytes", took)
			}
			holds(t, c, 32*MiB, mixed)
			// A piece is smaller than a cluster of a full image, and QEMU frees only whole clusters.
			s.write(t, c, 32*MiB, zeroes)
			holds(t, c, 32*MiB, zeroes)
			if got := takes(t, o.Image) - empty; got > took {
				t.Errorf("zeroes over data that takes %d bytes have it take %d", took, got)
			}
			if err := s.stop(); err != nil {
				t.Errorf("%v: %s", err, s.stderr)
			}
		})
	}
}

// TestZeroesOverAParent: zeroes written to an incremental read as zeroes, whatever data the parent has there, and need no space.
func TestZeroesOverAParent(t *testing.T) {
	dir := tempDir(t)
	full := newImage(t, filepath.Join(dir, "full.qcow2"), refusingBytes)
	s, c := serveRefusing(t, ServerOptions{Image: full})
	old := random(3, 64*MiB)
	s.write(t, c, 0, old[:32*MiB])
	s.write(t, c, 32*MiB, old[32*MiB:])
	if err := errors.Join(c.Disconnect(), s.stop()); err != nil {
		t.Fatal(err)
	}
	top := overlayOf(t, Tools{}, filepath.Join(dir, "top.qcow2"), "full.qcow2")
	empty := takes(t, top)
	s, c = serveRefusing(t, ServerOptions{Image: top})
	const begin, odd = 3*MiB + 512, 29*MiB - 1024
	zeroes := make([]byte, odd)
	s.write(t, c, begin, zeroes)
	holds(t, c, 0, old[:begin])
	holds(t, c, begin, zeroes)
	holds(t, c, begin+odd, old[begin+odd:])
	// The ends of each piece are not whole clusters and are written.
	if got, most := takes(t, top)-empty, int64(odd/pieceBytes+1)*(128<<10)+MiB; got > most {
		t.Errorf("%d zeroes over data take %d bytes, more than %d", odd, got, most)
	}
}

// TestLibnbd: libnbd, which SBC is built with, obeys the largest request that a server advertises; those of SBC have 32 MiB.
func TestLibnbd(t *testing.T) {
	dir := tempDir(t)
	s, _ := serveRefusing(t, ServerOptions{Image: newImage(t, filepath.Join(dir, "a.qcow2"), refusingBytes)})
	source := filepath.Join(dir, "source.raw")
	data := append(random(5, 40*MiB), make([]byte, refusingBytes-40*MiB)...)
	if err := os.WriteFile(source, data, 0o644); err != nil {
		t.Fatal(err)
	}
	// Without the last two options it would ask for zeroes, and fail.
	command := exec.Command("nbdcopy", "--request-size=33554432", "--requests=3", "--connections=2", "--no-extents", "--sparse=0",
		source, "nbd://"+s.addr+"/vm-disk0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s%s", err, out, s.stderr)
	}
	holds(t, dial(t, s), 0, data)
}

// TestThreeWriters: workers write at multiples of 512 bytes, so that neighbors share clusters. No data is lost.
func TestThreeWriters(t *testing.T) {
	for _, test := range refusingCases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := test.options(t, tempDir(t))
			s, _ := serveRefusing(t, o)
			want := make([]byte, refusingBytes)
			for at, i := 0, byte(0); at < len(want); i++ { // runs of data and of zeroes, all of odd sizes
				n := min(512*(1+rand.IntN(700)), len(want)-at)
				if i%3 != 0 {
					copy(want[at:], random(i, n))
				}
				at += n
			}
			third := len(want) / 3 / 512 * 512
			var group sync.WaitGroup
			for i := range 3 {
				begin, end := i*third, (i+1)*third
				if i == 2 {
					end = len(want)
				}
				c := dial(t, s)
				group.Go(func() {
					for at := begin; at < end; {
						n := min(32*MiB, end-at)
						if rand.IntN(2) == 0 {
							n = min(512*(1+rand.IntN(8192)), n)
						}
						if _, err := c.WriteAt(want[at:at+n], int64(at)); err != nil {
							t.Error(err)
							return
						}
						at += n
					}
				})
			}
			group.Wait()
			holds(t, dial(t, s), 0, want)
			if err := s.stop(); err != nil {
				t.Fatalf("%v: %s", err, s.stderr)
			}
			o.Export, o.ReadOnly, o.RateLimit = "vm-disk0", true, 0
			holds(t, dial(t, startServer(t, o)), 0, want)
		})
	}
}

// TestFlushReachesTheImage: data that was written before a flush is in the image if the server is killed after it.
func TestFlushReachesTheImage(t *testing.T) {
	for _, test := range refusingCases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := test.options(t, tempDir(t))
			s, c := serveRefusing(t, o)
			data := random(4, 3*MiB)
			s.write(t, c, MiB+512, data)
			if err := c.Flush(); err != nil {
				t.Error(err)
			}
			if err := s.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = s.wait() // killed
			o.Export, o.ReadOnly, o.RateLimit = "vm-disk0", true, 0
			holds(t, dial(t, startServer(t, o)), MiB+512, data)
		})
	}
}
