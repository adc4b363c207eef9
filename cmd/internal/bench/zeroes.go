package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/rawdisk"
	"github.com/sendense/backup-agent/cmd/internal/bench/rival"
	"github.com/sendense/backup-agent/nbd/iomode"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// A refusal is a way to serve a backup's image: whether it refuses WRITE_ZEROES, and into which pieces it cuts a write to detect zeroes.
type refusal struct {
	name   string
	refuse bool
	pieces int // 0 for the agent's
}

const refusedOurs = "refused, aligned pieces of 192 KiB (the agent's)"

var (
	accepted = refusal{"accepted", false, 0}
	ourWay   = refusal{refusedOurs, true, 0}
	refusals = []refusal{
		accepted,
		{"refused, whole requests", true, int(rival.SBCRequest)},
		{"refused, aligned pieces of 1 MiB", true, 1 << 20},
		{"refused, aligned pieces of 256 KiB", true, 256 << 10},
		ourWay,
		{"refused, aligned pieces of 128 KiB", true, 128 << 10},
		{"refused, aligned pieces of 64 KiB", true, 64 << 10},
	}
)

// zeroCopies are the copies: of disks that fill makes, by so many workers. fill returns how much of the disk is data, in blocks of 64 KiB.
var zeroCopies = []struct {
	name    string
	workers int
	ways    []refusal
	fill    func(path string, size int64) (data int64, err error)
}{
	{"random", 3, refusals, rawdisk.WriteRandom},
	{"random", 1, refusals, rawdisk.WriteRandom},
	{"runs of 64 KiB to 4 MiB", 3, refusals, rawdisk.WriteRuns},
	{"sparse, data between the samples", 3, []refusal{accepted, ourWay}, rawdisk.WriteBetween},
}

// measureZeroes measures the cost of refusing WRITE_ZEROES.
func measureZeroes(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title: "What refusing WRITE_ZEROES costs",
		Method: fmt.Sprintf("A disk of %d MiB is copied as SBC does: requests of 32 MiB over one of two connections, by several workers with one request each; "+
			"WRITE_ZEROES where five samples of 8 KiB are zero, and the data if that is refused. One qemu-nbd without sandbox, with the agent's image and "+
			"options. Milliseconds until all is flushed; over the time of the same copy with zeroes accepted; bytes sent; the size of the image over "+
			"the blocks of 64 KiB with data; and whether the image is identical to the disk.", s.size>>20),
		Head: []string{"data", "requests", "WRITE_ZEROES", "ms", "it / accepted", "MiB received", "taken / data", "identical"},
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
		var all []figures.Contender
		for _, r := range c.ways {
			notes[r.name] = &zeroNotes{data: data}
			all = append(all, figures.Contender{Name: r.name, Run: func(ctx context.Context) (time.Duration, error) {
				return r.measure(ctx, dir, source, s.size, rival.SBC{Workers: c.workers}, notes[r.name])
			}})
		}
		t, err := figures.TakeTurns(ctx, s.rounds, all)
		if err != nil {
			return p, fmt.Errorf("%s: %w", c.name, err)
		}
		for _, r := range c.ways {
			ratio := ""
			if r.refuse {
				ratio = t.Ratio(r.name, accepted.name).String()
			}
			n := notes[r.name]
			p.Add(c.name, strconv.Itoa(c.workers), r.name, t.Of(r.name).String(), ratio, strconv.FormatInt(n.received>>20, 10),
				figures.Figure(figures.SpreadOf(n.taken).Median), n.identical())
		}
	}
	return p, os.RemoveAll(dir)
}

// zeroNotes are the results of one way.
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
func (r refusal) measure(ctx context.Context, dir, source string, size int64, client rival.SBC, n *zeroNotes) (time.Duration, error) {
	way := rival.Server{Name: "", Start: func(ctx context.Context, s *rival.Served) error {
		return s.Shell(ctx, func(i int, image string) []string { return r.command(s, i, image) })
	}}
	image := []string{"create", "-q", "-f", "qcow2", "-o", "cluster_size=1M,extended_l2=on", "IMAGE", strconv.FormatInt(size, 10)}
	took, err := copyServed(ctx, way, dir, image, func(ctx context.Context, uri, image string) (time.Duration, error) {
		address, export, _ := strings.Cut(strings.TrimPrefix(uri, "nbd://"), "/")
		done, err := client.Copy(ctx, source, address, export)
		if err != nil {
			return 0, err
		}
		taken, err := rawdisk.Allocated(image)
		n.received = done.Received
		n.taken = append(n.taken, float64(taken)/float64(n.data))
		return done.Took, errors.Join(err, n.compare(ctx, source, uri))
	})
	return took, err
}

// compare checks that the export has the contents of the source.
func (n *zeroNotes) compare(ctx context.Context, source, uri string) error {
	err := exec.CommandContext(ctx, "qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", source, uri).Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		n.different++
		return nil
	}
	return err
}

// command is the agent's own, with a port instead of an inherited socket.
func (r refusal) command(s *rival.Served, i int, image string) []string {
	args, err := qemu.ServerOptions{
		Image: image, Export: fmt.Sprintf("disk%d", i), IO: iomode.Mode{Cache: "none", AIO: "io_uring"}, RefuseZeroes: r.refuse, SizeBytes: rawdisk.Block,
	}.Args()
	if err != nil {
		panic(err) // of constants
	}
	last := len(args) - 1
	if r.pieces != 0 {
		args[last] = strings.Replace(args[last], `"max-transfer":196608`, `"max-transfer":`+strconv.Itoa(r.pieces), 1)
	}
	more := []string{"--pid-file=" + s.PID(i), "--port=" + s.Port(i), "--bind=127.0.0.1", "--", "'" + args[last] + "'"}
	return append(args[:last-1:last-1], more...)
}
