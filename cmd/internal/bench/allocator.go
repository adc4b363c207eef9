package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/host"
	"github.com/sendense/backup-agent/cmd/internal/bench/rawdisk"
	"github.com/sendense/backup-agent/cmd/internal/bench/rival"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// An allocator is a way for qemu-nbd to allocate the buffers of its requests.
type allocator struct {
	name string
	env  []string
}

const (
	plainAllocator = "glibc, nothing set"
	thresholds     = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=1073741824:glibc.malloc.top_pad=134217728"
)

var allocators = []allocator{
	{plainAllocator, nil},
	{"huge pages (the agent's)", qemu.ServerEnvironment()},
	{"thresholds of 1 GiB, padding of 128 MiB", []string{"GLIBC_TUNABLES=" + thresholds}},
	{"both", []string{"GLIBC_TUNABLES=glibc.malloc.hugetlb=1:" + thresholds}},
	{"jemalloc, preloaded", []string{"LD_PRELOAD=libjemalloc.so.2"}},
	{"mimalloc, preloaded", []string{"LD_PRELOAD=libmimalloc.so.2"}},
	{"mimalloc, preloaded, huge pages", []string{"LD_PRELOAD=libmimalloc.so.2", "MIMALLOC_ALLOW_LARGE_OS_PAGES=1"}},
}

// patterns are clients: connections that carry data, with requests in progress, of a size. An export serves 16 connections, and one of each
// client carries no data.
var patterns = []struct {
	name   string
	client rival.SBC
}{
	{"SBC: 1 connection, 3 x 32 MiB", rival.SBC{Workers: 3}},
	{"15 connections, 1 x 32 MiB each", rival.SBC{Workers: 15, Connections: 15}},
	{"4 connections, 1 x 8 MiB each", rival.SBC{Workers: 4, Connections: 4, Request: 8 << 20}},
	{"4 connections, 4 x 1 MiB each", rival.SBC{Workers: 16, Connections: 4, Request: 1 << 20}},
	{"4 connections, 16 x 256 KiB each", rival.SBC{Workers: 64, Connections: 4, Request: 256 << 10}},
	{"1 connection, 16 x 64 KiB", rival.SBC{Workers: 16, Request: 64 << 10}},
	{"15 connections, 1 x 64 KiB each", rival.SBC{Workers: 15, Connections: 15, Request: 64 << 10}},
}

// memoryNotes are what an allocator cost, by round.
type memoryNotes struct{ cpu, faults, peak, rest []float64 }

// measureAllocator measures what an allocator does for the requests of a client.
func measureAllocator(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title: "How an exporter allocates",
		Method: fmt.Sprintf("A disk of %d MiB of random data is copied in requests of one size to one qemu-nbd without sandbox, with the agent's image and "+
			"options. qemu-nbd allocates the buffer of each request. Milliseconds until all is flushed; over those with nothing set; and of qemu-nbd: "+
			"CPU seconds, thousands of page faults, MiB of memory at its peak and one second after the last client left.", s.size>>20),
		Head: []string{"client", "allocator", "ms", "it / nothing set", "CPU s", "1,000 faults", "MiB, peak", "MiB, after"},
	}
	dir := filepath.Join(s.disk, "allocator")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return p, err
	}
	source := filepath.Join(dir, "source.raw")
	if _, err := rawdisk.WriteRandom(source, s.size); err != nil {
		return p, err
	}
	for _, pattern := range patterns {
		notes := make([]memoryNotes, len(allocators))
		var all []figures.Contender
		for i, a := range allocators {
			all = append(all, figures.Contender{Name: a.name, Run: func(ctx context.Context) (time.Duration, error) {
				return a.measure(ctx, dir, source, s.size, pattern.client, &notes[i])
			}})
		}
		t, err := figures.TakeTurns(ctx, s.rounds, all)
		if err != nil {
			return p, fmt.Errorf("%s: %w", pattern.name, err)
		}
		for i, a := range allocators {
			ratio := ""
			if a.name != plainAllocator {
				ratio = t.Ratio(a.name, plainAllocator).String()
			}
			row := []string{pattern.name, a.name, t.Of(a.name).String(), ratio}
			for _, values := range [][]float64{notes[i].cpu, notes[i].faults, notes[i].peak, notes[i].rest} {
				row = append(row, figures.Figure(figures.SpreadOf(values).Median))
			}
			p.Add(row...)
		}
	}
	return p, os.RemoveAll(dir)
}

// measure copies once.
func (a allocator) measure(ctx context.Context, dir, source string, size int64, client rival.SBC, n *memoryNotes) (time.Duration, error) {
	way := rival.Server{Name: "", Start: func(ctx context.Context, s *rival.Served) error {
		return s.Shell(ctx, func(i int, image string) []string {
			return append(append([]string{"env"}, a.env...), ourWay.command(s, i, image)...)
		})
	}}
	image := []string{"create", "-q", "-f", "qcow2", "-o", "cluster_size=1M,extended_l2=on", "IMAGE", strconv.FormatInt(size, 10)}
	return copyServed(ctx, way, dir, image, func(ctx context.Context, uri, image string) (time.Duration, error) {
		address, export, _ := strings.Cut(strings.TrimPrefix(uri, "nbd://"), "/")
		done, err := client.Copy(ctx, source, address, export)
		if err != nil {
			return 0, err
		}
		return done.Took, n.note(filepath.Join(dir, "0.pid"))
	})
}

func (n *memoryNotes) note(pidFile string) error {
	pid, err := strconv.Atoi(host.FirstWord(pidFile))
	if err != nil {
		return err
	}
	own, _, err := host.CPUOf(pid)
	time.Sleep(time.Second)
	m, errMemory := host.MemoryOf(pid)
	n.cpu = append(n.cpu, own.Seconds())
	n.faults = append(n.faults, float64(m.Faults)/1000)
	n.peak = append(n.peak, float64(m.Peak>>20))
	n.rest = append(n.rest, float64(m.Resident>>20))
	return errors.Join(err, errMemory)
}
