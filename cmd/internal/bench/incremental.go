package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/hub"
	"github.com/sendense/backup-agent/cmd/internal/bench/rawdisk"
	"github.com/sendense/backup-agent/cmd/internal/bench/rival"
	"github.com/sendense/backup-agent/rpc"
)

// measureIncremental measures how fast scattered changes are written over a restore point, and how large they are.
func measureIncremental(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title: "Writing an incremental backup",
		Method: "64 KiB have changed in every 512 KiB: random data; half of the places zeroed; or only one place in eight (sparse). The same client writes " +
			"only the changes over the same restore point, through an incremental of the agent and through qemu-nbd with other options and images. " +
			"Milliseconds until all is flushed, agent / other, and how much the image grew, over the size of the changes.",
		Head: []string{"data", "way", "ms", "agent / it", "grown / changed"},
	}
	h, err := hub.New(ctx, s.programs, filepath.Join(s.disk, "incremental"))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	parent, err := h.RestorePoint(ctx, "vm", s.size)
	if err != nil {
		return p, err
	}
	if err := h.Hold(); err != nil {
		return p, err
	}
	for _, kind := range rawdisk.Kinds {
		source := filepath.Join(h.Dir, "changes.raw")
		changed, err := rawdisk.WriteScattered(source, kind, s.size)
		if err != nil {
			return p, err
		}
		g := growth{source: source, changed: changed, of: map[string][]float64{}}
		all := incrementalWriters(h, parent, g)
		t, err := figures.TakeTurns(ctx, s.rounds, all)
		if err != nil {
			return p, fmt.Errorf("%s: %w", kind, err)
		}
		for _, c := range all {
			ratio := ""
			if c.Name != ours {
				ratio = t.Ratio(ours, c.Name).String()
			}
			p.Add(kind, c.Name, t.Of(c.Name).String(), ratio, figures.SpreadOf(g.of[c.Name]).String())
		}
	}
	return p, nil
}

func incrementalWriters(h *hub.Hub, parent string, g growth) []figures.Contender {
	all := []figures.Contender{{Name: ours, Run: func(ctx context.Context) (time.Duration, error) {
		return copyThrough(ctx, h, incremental, g.note(ours))
	}}}
	for _, w := range []struct {
		name    string
		way     rival.Server
		options string
	}{
		{"qemu-nbd, options of the predecessor", rival.Original, "cluster_size=64k"},
		{"qemu-nbd, the agent's options, 64k clusters", rival.Bare, "cluster_size=64k"},
		{"qemu-nbd, the agent's options, 1M clusters, extended_l2", rival.Bare, "cluster_size=1M,extended_l2=on"},
		{"qemu-nbd, the agent's options, 1M clusters", rival.Bare, "cluster_size=1M"},
	} {
		image := []string{"create", "-q", "-f", "qcow2", "-o", w.options, "-F", "qcow2", "-b", parent, "IMAGE"}
		all = append(all, figures.Contender{Name: w.name, Run: func(ctx context.Context) (time.Duration, error) {
			return copyServed(ctx, w.way, h.Dir, image, g.note(w.name))
		}})
	}
	return all
}

var incremental = rpc.StartRequest{VMName: "vm", BackupType: rpc.Incremental}

// growth is how much images grew, over the size of the changes, by contender.
type growth struct {
	source  string
	changed int64
	of      map[string][]float64
}

// onlyChanges make nbdcopy write the data of the source, including zeroes, but not its holes. It looks for holes in each request.
var onlyChanges = []string{"--sparse=0", "--request-size=" + strconv.Itoa(rawdisk.Scatter)}

// note writes the changes, and notes how much the image grew.
func (g growth) note(name string) Writing {
	return func(ctx context.Context, uri, image string) (time.Duration, error) {
		before, err := rawdisk.Allocated(image)
		if err != nil {
			return 0, err
		}
		took, err := nbdcopy(ctx, g.source, uri, onlyChanges...)
		if err != nil {
			return 0, err
		}
		after, err := rawdisk.Allocated(image)
		g.of[name] = append(g.of[name], float64(after-before)/float64(g.changed))
		return took, err
	}
}
