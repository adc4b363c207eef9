package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/rawdisk"
	"github.com/sendense/backup-agent/cmd/internal/bench/rival"
)

// options are ways of one qemu-nbd to write an image. Each differs from the agent's in one choice.
var options = []struct {
	what   string
	layout string // of the image
	args   []string
}{
	{ownOptions, "cluster_size=1M,extended_l2=on", rival.AgentOptions},
	{"64k clusters", "cluster_size=64k", rival.AgentOptions},
	{"64k clusters, extended_l2", "cluster_size=64k,extended_l2=on", rival.AgentOptions},
	{"256k clusters, extended_l2", "cluster_size=256k,extended_l2=on", rival.AgentOptions},
	{"1M clusters, no extended_l2", "cluster_size=1M", rival.AgentOptions},
	{"2M clusters, extended_l2", "cluster_size=2M,extended_l2=on", rival.AgentOptions},
	{"aio=native", "cluster_size=1M,extended_l2=on", []string{"--cache=none", "--aio=native", "--discard=unmap", "--detect-zeroes=unmap"}},
	{"aio=threads", "cluster_size=1M,extended_l2=on", []string{"--cache=none", "--aio=threads", "--discard=unmap", "--detect-zeroes=unmap"}},
	{"cache=writeback", "cluster_size=1M,extended_l2=on", []string{"--cache=writeback", "--aio=io_uring", "--discard=unmap", "--detect-zeroes=unmap"}},
	{"cache=writeback, aio=threads", "cluster_size=1M,extended_l2=on", []string{"--cache=writeback", "--aio=threads", "--discard=unmap", "--detect-zeroes=unmap"}},
	{"detect-zeroes=off", "cluster_size=1M,extended_l2=on", []string{"--cache=none", "--aio=io_uring", "--discard=unmap", "--detect-zeroes=off"}},
	{"detect-zeroes=on", "cluster_size=1M,extended_l2=on", []string{"--cache=none", "--aio=io_uring", "--discard=unmap", "--detect-zeroes=on"}},
	{"discard=ignore, detect-zeroes=on", "cluster_size=1M,extended_l2=on", []string{"--cache=none", "--aio=io_uring", "--discard=ignore", "--detect-zeroes=on"}},
}

const ownOptions = "(the agent's)"

// measureOptions measures the effect of each choice for a full image.
func measureOptions(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title: "Choices for a full image",
		Method: "One qemu-nbd without sandbox writes a full image as above, with all choices of the agent, and with one of them changed. " +
			"Milliseconds until all is flushed; the agent's choice / the other, so below 1 the agent's is faster; and the size of the image " +
			"over the data that is not zero.",
		Head: []string{"data", "choice", "ms", "the agent's / it", "taken / data"},
	}
	dir := filepath.Join(s.disk, "options")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return p, err
	}
	source := filepath.Join(dir, "source.raw")
	for _, kind := range rawdisk.Kinds {
		if err := rawdisk.WriteSource(source, kind, s.size); err != nil {
			return p, err
		}
		took := map[string][]float64{}
		all := make([]figures.Contender, len(options))
		for i, o := range options {
			all[i] = figures.Contender{Name: o.what, Run: func(ctx context.Context) (time.Duration, error) {
				image := []string{"create", "-q", "-f", "qcow2", "-o", o.layout, "IMAGE", strconv.FormatInt(s.size, 10)}
				return copyServed(ctx, rival.BareWith(o.args), dir, image, func(ctx context.Context, uri, image string) (time.Duration, error) {
					d, err := nbdcopy(ctx, source, uri)
					if err != nil {
						return 0, err
					}
					n, err := rawdisk.Allocated(image)
					took[o.what] = append(took[o.what], float64(n)/float64(s.size/rawdisk.Block/rawdisk.Parts[kind]*rawdisk.Block))
					return d, err
				})
			}}
		}
		t, err := figures.TakeTurns(ctx, s.rounds, all)
		if err != nil {
			return p, fmt.Errorf("%s: %w", kind, err)
		}
		for _, o := range options {
			ratio := ""
			if o.what != ownOptions {
				ratio = t.Ratio(ownOptions, o.what).String()
			}
			p.Add(kind, o.what, t.Of(o.what).String(), ratio, figures.Figure(figures.SpreadOf(took[o.what]).Median))
		}
	}
	return p, os.RemoveAll(dir)
}
