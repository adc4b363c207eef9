package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sendense/backup-agent/rpc"
)

const scatter = 64 << 10 // what has changed at each place, in bytes

// writeScattered makes a raw disk that holds only what has changed, never two places side by side. Of a kind as of a full backup:
// all that changes is random, or half of it is zeroed, or only one place in eight changes.
func writeScattered(path, kind string, size int64) (changed int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	data, zeroes := make([]byte, scatter), make([]byte, scatter)
	// A place moves within its 512 KiB, so that it meets the clusters of an image at every offset.
	for at, i := int64(0), int64(0); at+512<<10 <= size; at, i = at+512<<10, i+1 {
		what := data
		if i%parts[kind] != 0 {
			if kind == "sparse" {
				continue
			}
			what = zeroes
		}
		_, _ = rand.Read(data)
		if _, err := f.WriteAt(what, at+i%8*scatter); err != nil {
			return 0, err
		}
		changed += scatter
	}
	return changed, errors.Join(f.Truncate(size), f.Sync())
}

// measureIncremental: how fast scattered changes are written over a restore point, and how much of the disk they take.
func measureIncremental(ctx context.Context, s settings) (p part, err error) {
	p = part{
		title: "Writing an incremental backup",
		method: "64 KiB have changed in every 512 KiB: random data; half of the places zeroed; or one place in eight only (sparse). The same client writes " +
			"only what has changed over the same restore point, through an incremental of the agent and through qemu-nbd with other options and images. " +
			"Milliseconds until all is flushed, agent / other, and by how much the image grew over what had changed.",
		head: []string{"data", "way", "ms", "agent / it", "grown / changed"},
	}
	h, err := newHub(ctx, s, filepath.Join(s.disk, "incremental"))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, h.close(ctx)) }()
	parent, err := h.restorePoint(ctx, "vm", s.size)
	if err != nil {
		return p, err
	}
	if err := h.hold(); err != nil {
		return p, err
	}
	for _, kind := range kinds {
		source := filepath.Join(h.dir, "changes.raw")
		changed, err := writeScattered(source, kind, s.size)
		if err != nil {
			return p, err
		}
		g := growth{source: source, changed: changed, of: map[string][]float64{}}
		all := incrementalWriters(h, parent, g)
		t, err := takeTurns(ctx, s.rounds, all)
		if err != nil {
			return p, fmt.Errorf("%s: %w", kind, err)
		}
		for _, c := range all {
			ratio := ""
			if c.name != ours {
				ratio = t.ratio(ours, c.name).String()
			}
			p.add(kind, c.name, t.of(c.name).String(), ratio, spreadOf(g.of[c.name]).String())
		}
	}
	return p, nil
}

func incrementalWriters(h *hub, parent string, g growth) []contender {
	all := []contender{{ours, func(ctx context.Context) (time.Duration, error) { return h.copied(ctx, incremental, g.note(ours)) }}}
	for _, w := range []struct {
		name    string
		way     server
		options string
	}{
		{"qemu-nbd, options of the predecessor", original, "cluster_size=64k"},
		{"qemu-nbd, the agent's options, 64k clusters", bare, "cluster_size=64k"},
		{"qemu-nbd, the agent's options, 1M clusters, extended_l2", bare, "cluster_size=1M,extended_l2=on"},
		{"qemu-nbd, the agent's options, 1M clusters", bare, "cluster_size=1M"},
	} {
		image := []string{"create", "-q", "-f", "qcow2", "-o", w.options, "-F", "qcow2", "-b", parent, "IMAGE"}
		all = append(all, contender{w.name, func(ctx context.Context) (time.Duration, error) {
			return w.way.copied(ctx, h.dir, image, g.note(w.name))
		}})
	}
	return all
}

var incremental = rpc.StartRequest{VMName: "vm", BackupType: rpc.Incremental}

// growth is by how much images grew over what had changed, by contender.
type growth struct {
	source  string
	changed int64
	of      map[string][]float64
}

// onlyChanges have nbdcopy write what the source holds, zeroes too, and nothing of its holes. It looks for holes request by request.
var onlyChanges = []string{"--sparse=0", "--request-size=" + strconv.Itoa(scatter)}

// note writes the changes, and notes by how much the image grew.
func (g growth) note(name string) writing {
	return func(ctx context.Context, uri, image string) (time.Duration, error) {
		before, err := allocated(image)
		if err != nil {
			return 0, err
		}
		took, err := nbdcopy(ctx, g.source, uri, onlyChanges...)
		if err != nil {
			return 0, err
		}
		after, err := allocated(image)
		g.of[name] = append(g.of[name], float64(after-before)/float64(g.changed))
		return took, err
	}
}

// restorePoint makes a VM of one disk, and backs it up to the end. It returns the path of the image.
func (h *hub) restorePoint(ctx context.Context, vm string, size int64) (string, error) {
	if err := h.putVM(ctx, vm, 1, size); err != nil {
		return "", err
	}
	source := filepath.Join(h.dir, vm+"-0.raw")
	if err := writeSource(source, "sparse", size); err != nil {
		return "", err
	}
	return h.complete(ctx, vm, rpc.Full)
}

// complete backs up a VM of one disk to the end.
func (h *hub) complete(ctx context.Context, vm string, kind rpc.BackupType) (string, error) {
	b, err := h.client.StartBackup(ctx, rpc.StartRequest{VMName: vm, BackupType: kind})
	if err != nil {
		return "", err
	}
	ended, err := h.ended(ctx, b.BackupID)
	if err == nil && ended.State != rpc.Completed {
		err = fmt.Errorf("backup %s is %s: %+v", b.BackupID, ended.State, ended.Failure)
	}
	if err != nil {
		return "", err
	}
	return ended.Disks[0].QCOW2Path, nil
}
