package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/nbd/qemu"
)

// A refusal is a way to serve a backup's image: what becomes of WRITE_ZEROES, and into which pieces a write is cut before it is
// looked at for zeroes.
type refusal struct {
	name   string
	refuse bool
	pieces int // 0 for the agent's
}

const refusedOurs = "refused, pieces of 192 KiB (the agent's)"

var (
	accepted = refusal{"accepted", false, 0}
	ourWay   = refusal{refusedOurs, true, 0}
	refusals = []refusal{
		accepted,
		{"refused, whole requests", true, sbcRequest},
		{"refused, pieces of 1 MiB", true, 1 << 20},
		{"refused, pieces of 256 KiB", true, 256 << 10},
		ourWay,
		{"refused, pieces of 128 KiB", true, 128 << 10},
		{"refused, pieces of 64 KiB", true, 64 << 10},
	}
)

const dataBlock = 64 << 10

// zeroCopies are what is copied: disks that fill makes, telling how much of their blocks of 64 KiB holds data, by so many workers.
var zeroCopies = []struct {
	name    string
	workers int
	ways    []refusal
	fill    func(path string, size int64) (data int64, err error)
}{
	{"random", 3, refusals, writeRandom},
	{"random", 1, refusals, writeRandom},
	{"runs of 64 KiB to 4 MiB", 3, refusals, writeRuns},
	{"sparse, data between the samples", 3, []refusal{accepted, ourWay}, writeBetween},
}

func writeRandom(path string, size int64) (int64, error) {
	return size, writeSource(path, "random", size)
}

// measureZeroes: what it costs that WRITE_ZEROES is refused.
func measureZeroes(ctx context.Context, s settings) (p part, err error) {
	p = part{
		title: "What refusing WRITE_ZEROES costs",
		method: fmt.Sprintf("A disk of %d MiB is copied as SBC does: requests of 32 MiB over one of two connections, by as many workers as requests are under way; "+
			"WRITE_ZEROES where five samples of 8 KiB are zero, and the data where that is refused. One qemu-nbd without sandbox, image and options the "+
			"agent's. Milliseconds until all is flushed; over the time of the same copy where zeroes are accepted; what was sent; what the image takes on the disk over "+
			"the blocks of 64 KiB that hold data; and whether the image is what the disk was.", s.size>>20),
		head: []string{"data", "requests", "WRITE_ZEROES", "ms", "it / accepted", "MiB received", "taken / data", "identical"},
	}
	dir := filepath.Join(s.disk, "zeroes")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return p, err
	}
	source := filepath.Join(dir, "source.raw")
	for _, c := range zeroCopies {
		data, err := c.fill(source, s.size)
		if err != nil {
			return p, err
		}
		notes := map[string]*zeroNotes{}
		var all []contender
		for _, r := range c.ways {
			notes[r.name] = &zeroNotes{data: data}
			all = append(all, contender{r.name, func(ctx context.Context) (time.Duration, error) {
				return r.measure(ctx, dir, source, s.size, sbc{workers: c.workers}, notes[r.name])
			}})
		}
		t, err := takeTurns(ctx, s.rounds, all)
		if err != nil {
			return p, fmt.Errorf("%s: %w", c.name, err)
		}
		for _, r := range c.ways {
			ratio := ""
			if r.refuse {
				ratio = t.ratio(r.name, accepted.name).String()
			}
			n := notes[r.name]
			p.add(c.name, strconv.Itoa(c.workers), r.name, t.of(r.name).String(), ratio, strconv.FormatInt(n.received>>20, 10),
				figure(spreadOf(n.taken).median), n.identical())
		}
	}
	return p, os.RemoveAll(dir)
}

// zeroNotes is what is noted of the copies of one way.
type zeroNotes struct {
	data, received int64
	taken          []float64
	different      int
}

func (n *zeroNotes) identical() string {
	if n.different > 0 {
		return "no: data is lost"
	}
	return "yes"
}

// measure copies once.
func (r refusal) measure(ctx context.Context, dir, source string, size int64, client sbc, n *zeroNotes) (time.Duration, error) {
	way := server{"", func(ctx context.Context, s *served) error {
		return s.shell(ctx, func(i int, image string) []string { return r.command(s, i, image) })
	}}
	image := []string{"create", "-q", "-f", "qcow2", "-o", "cluster_size=1M,extended_l2=on", "IMAGE", strconv.FormatInt(size, 10)}
	took, err := way.copied(ctx, dir, image, func(ctx context.Context, uri, image string) (time.Duration, error) {
		address, export, _ := strings.Cut(strings.TrimPrefix(uri, "nbd://"), "/")
		done, err := client.copy(ctx, source, address, export)
		if err != nil {
			return 0, err
		}
		taken, err := allocated(image)
		n.received = done.received
		n.taken = append(n.taken, float64(taken)/float64(n.data))
		return done.took, errors.Join(err, n.compare(ctx, source, uri))
	})
	return took, err
}

// compare looks whether what is served is what was copied.
func (n *zeroNotes) compare(ctx context.Context, source, uri string) error {
	err := exec.CommandContext(ctx, "qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", source, uri).Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		n.different++
		return nil
	}
	return err
}

// command is the agent's own, on a port in the place of a socket that it is handed.
func (r refusal) command(s *served, i int, image string) []string {
	args, err := qemu.ServerOptions{
		Image: image, Export: fmt.Sprintf("disk%d", i), IO: qemu.IOMode{Cache: "none", AIO: "io_uring"}, RefuseZeroes: r.refuse,
	}.Args()
	if err != nil {
		panic(err) // of constants
	}
	last := len(args) - 1
	if r.pieces != 0 {
		args[last] = strings.Replace(args[last], `"max-transfer":196608`, `"max-transfer":`+strconv.Itoa(r.pieces), 1)
	}
	more := []string{"--pid-file=" + s.pid(i), "--port=" + s.port(i), "--bind=127.0.0.1", "--", "'" + args[last] + "'"}
	return append(args[:last-1:last-1], more...)
}

// writeRuns makes a disk of runs of data of 64 KiB to 4 MiB, as many between each length and its double, with about 3/8 of data; always
// the same.
func writeRuns(path string, size int64) (data int64, err error) {
	return writeBlocks(path, size, func(random *rand.Rand, write func(at, length int64) error) error {
		run := func(most float64) int64 { return dataBlock * int64(math.Exp(random.Float64()*math.Log(most))) }
		for at := run(100); at < size; {
			length := min(run(65), size-at)
			if err := write(at, length); err != nil {
				return err
			}
			at += length + run(140)
		}
		return nil
	})
}

// writeBetween makes a disk that looks empty where five samples of a request are taken.
func writeBetween(path string, size int64) (int64, error) {
	return writeBlocks(path, size, func(random *rand.Rand, write func(at, length int64) error) error {
		for at := int64(2 << 20); at+dataBlock < size; at += 8 << 20 {
			if err := write(at+dataBlock*random.Int64N(16), dataBlock); err != nil {
				return err
			}
		}
		return nil
	})
}

func writeBlocks(path string, size int64, fill func(random *rand.Rand, write func(at, length int64) error) error) (data int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	random, content := rand.New(rand.NewPCG(1, 2)), rand.NewChaCha8([32]byte{1})
	err = fill(random, func(at, length int64) error {
		block := make([]byte, length)
		_, _ = content.Read(block)
		data += length
		_, err := f.WriteAt(block, at)
		return err
	})
	return data, errors.Join(err, f.Truncate(size), f.Sync())
}
