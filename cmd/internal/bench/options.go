package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// options are ways of one qemu-nbd to write an image, each another than the agent's in one thing.
var options = []struct {
	what   string
	layout string // of the image
	args   []string
}{
	{ownOptions, "cluster_size=1M,extended_l2=on", ourOptions},
	{"64k clusters", "cluster_size=64k", ourOptions},
	{"64k clusters, extended_l2", "cluster_size=64k,extended_l2=on", ourOptions},
	{"256k clusters, extended_l2", "cluster_size=256k,extended_l2=on", ourOptions},
	{"1M clusters, no extended_l2", "cluster_size=1M", ourOptions},
	{"2M clusters, extended_l2", "cluster_size=2M,extended_l2=on", ourOptions},
	{"aio=native", "cluster_size=1M,extended_l2=on", []string{"--cache=none", "--aio=native", "--discard=unmap", "--detect-zeroes=unmap"}},
	{"aio=threads", "cluster_size=1M,extended_l2=on", []string{"--cache=none", "--aio=threads", "--discard=unmap", "--detect-zeroes=unmap"}},
	{"cache=writeback", "cluster_size=1M,extended_l2=on", []string{"--cache=writeback", "--aio=io_uring", "--discard=unmap", "--detect-zeroes=unmap"}},
	{"cache=writeback, aio=threads", "cluster_size=1M,extended_l2=on", []string{"--cache=writeback", "--aio=threads", "--discard=unmap", "--detect-zeroes=unmap"}},
	{"detect-zeroes=off", "cluster_size=1M,extended_l2=on", []string{"--cache=none", "--aio=io_uring", "--discard=unmap", "--detect-zeroes=off"}},
	{"detect-zeroes=on", "cluster_size=1M,extended_l2=on", []string{"--cache=none", "--aio=io_uring", "--discard=unmap", "--detect-zeroes=on"}},
	{"discard=ignore, detect-zeroes=on", "cluster_size=1M,extended_l2=on", []string{"--cache=none", "--aio=io_uring", "--discard=ignore", "--detect-zeroes=on"}},
}

const ownOptions = "(the agent's)"

// measureOptions: what each of the choices for a full image is worth.
func measureOptions(ctx context.Context, s settings) (p part, err error) {
	p = part{
		title: "Choices for a full image",
		method: "One qemu-nbd without sandbox writes a full image as above, with all choices as the agent makes them, and with each of them made " +
			"otherwise. Milliseconds until all is flushed; the agent's choice / the other, so below 1 the agent's is the faster one; and how much of " +
			"the disk the image takes over the data that is not zero.",
		head: []string{"data", "choice", "ms", "the agent's / it", "taken / data"},
	}
	dir := filepath.Join(s.disk, "options")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return p, err
	}
	source := filepath.Join(dir, "source.raw")
	for _, kind := range kinds {
		if err := writeSource(source, kind, s.size); err != nil {
			return p, err
		}
		took := map[string][]float64{}
		all := make([]contender, len(options))
		for i, o := range options {
			all[i] = contender{o.what, func(ctx context.Context) (time.Duration, error) {
				image := []string{"create", "-q", "-f", "qcow2", "-o", o.layout, "IMAGE", strconv.FormatInt(s.size, 10)}
				return bareWith(o.args).copied(ctx, dir, image, func(ctx context.Context, uri, image string) (time.Duration, error) {
					d, err := nbdcopy(ctx, source, uri)
					if err != nil {
						return 0, err
					}
					n, err := allocated(image)
					took[o.what] = append(took[o.what], float64(n)/float64(s.size/block/parts[kind]*block))
					return d, err
				})
			}}
		}
		t, err := takeTurns(ctx, s.rounds, all)
		if err != nil {
			return p, fmt.Errorf("%s: %w", kind, err)
		}
		for _, o := range options {
			ratio := ""
			if o.what != ownOptions {
				ratio = t.ratio(ownOptions, o.what).String()
			}
			p.add(kind, o.what, t.of(o.what).String(), ratio, figure(spreadOf(took[o.what]).median))
		}
	}
	return p, os.RemoveAll(dir)
}
