package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/figures"
	"github.com/sendense/backup-agent/cmd/internal/bench/host"
	"github.com/sendense/backup-agent/cmd/internal/bench/hub"
	"github.com/sendense/backup-agent/cmd/internal/bench/rawdisk"
	"github.com/sendense/backup-agent/cmd/internal/bench/rival"
	"github.com/sendense/backup-agent/rpc"
)

// nbdcopy copies a source to an export, and flushes it. It skips zeroes: the exports of a backup refuse WRITE_ZEROES, and unlike SBC,
// nbdcopy then fails.
func nbdcopy(ctx context.Context, source, uri string, options ...string) (time.Duration, error) {
	began := time.Now()
	err := host.Run(ctx, "nbdcopy", append(options, "--destination-is-zero", "--flush", source, uri)...)
	return time.Since(began), err
}

// A client copies a source to an export, and flushes it.
type client struct {
	name string
	copy func(ctx context.Context, source, uri string) (time.Duration, error)
}

// clients are those that the data path is measured with: first the real one's pattern.
var clients = []client{
	{"as SBC", func(ctx context.Context, source, uri string) (time.Duration, error) {
		address, export, _ := strings.Cut(strings.TrimPrefix(uri, "nbd://"), "/")
		done, err := rival.SBC{Workers: 3}.Copy(ctx, source, address, export)
		return done.Took, err
	}},
	{"nbdcopy", func(ctx context.Context, source, uri string) (time.Duration, error) { return nbdcopy(ctx, source, uri) }},
}

// measureFull measures how fast a full backup is written, and how large it is.
func measureFull(ctx context.Context, s settings) (p figures.Part, err error) {
	p = figures.Part{
		Title: "Writing a full backup",
		Method: fmt.Sprintf("The same client copies a raw disk of %d MiB (in the page cache) to an image on the disk: through an export of "+
			"a running backup of the agent, and through alternatives. First a client with SBC's pattern: requests of 32 MiB, 3 in progress on one of two connections, "+
			"WRITE_ZEROES where samples are zero, and the data if that is refused, as the agent's exports do. Then `nbdcopy --destination-is-zero --flush`, "+
			"with requests of 256 KiB, which sends no zeroes. Beside them `qemu-img convert` and dd with O_DIRECT, which write "+
			"without NBD. One eighth of the sparse disk is data. Milliseconds from the connection until all is flushed; agent / other.", s.size>>20),
		Head: []string{"client", "data", "way", "ms", "agent / it"},
	}
	h, err := hub.New(ctx, s.programs, filepath.Join(s.disk, "full"))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	if err := errors.Join(h.Hold(), h.PutVM(ctx, "vm", 1, s.size)); err != nil {
		return p, err
	}
	for _, kind := range rawdisk.Kinds {
		source := filepath.Join(h.Dir, "source.raw")
		if err := rawdisk.WriteSource(source, kind, s.size); err != nil {
			return p, err
		}
		for _, c := range clients {
			all := fullCopiers(h, c, source, s.size)
			t, err := figures.TakeTurns(ctx, s.rounds, all)
			if err != nil {
				return p, fmt.Errorf("%s, %s: %w", c.name, kind, err)
			}
			addRows(&p, t, all, c.name, kind)
		}
	}
	return p, nil
}

// addRows adds the time of each contender, and the ratio of ours to it, behind the columns of the case.
func addRows(p *figures.Part, t figures.Times, all []figures.Contender, columns ...string) {
	for _, c := range all {
		ratio := ""
		if c.Name != ours {
			ratio = t.Ratio(ours, c.Name).String()
		}
		p.Add(append(slices.Clone(columns), c.Name, t.Of(c.Name).String(), ratio)...)
	}
}

func fullCopiers(h *hub.Hub, c client, source string, size int64) []figures.Contender {
	agents := func(repository string) func(context.Context) (time.Duration, error) {
		return func(ctx context.Context) (time.Duration, error) {
			r := rpc.StartRequest{VMName: "vm", BackupType: rpc.Full, RepositoryID: repository}
			return copyThrough(ctx, h, r, func(ctx context.Context, uri, _ string) (time.Duration, error) {
				return c.copy(ctx, source, uri)
			})
		}
	}
	all := []figures.Contender{{Name: ours, Run: agents("")}, {Name: "agent, encrypted repository", Run: agents(hub.EncryptedRepository)}}
	for _, w := range []struct {
		name  string
		way   rival.Server
		image []string // qemu-img's arguments; none for a raw file
	}{
		{"qemu-nbd, options of the predecessor", rival.Original, []string{"create", "-q", "-f", "qcow2"}},
		{"qemu-nbd, the agent's options, 64k clusters", rival.Bare, []string{"create", "-q", "-f", "qcow2"}},
		{"qemu-nbd, the agent's options, 1M clusters", rival.Bare, []string{"create", "-q", "-f", "qcow2", "-o", "cluster_size=1M"}},
		{"qemu-storage-daemon, the agent's image", rival.StorageDaemon, []string{"create", "-q", "-f", "qcow2", "-o", "cluster_size=1M,extended_l2=on"}},
		{"nbdkit file, raw", rival.Kit, []string{"create", "-q", "-f", "raw"}},
	} {
		all = append(all, figures.Contender{Name: w.name, Run: func(ctx context.Context) (time.Duration, error) {
			return copyServed(ctx, w.way, h.Dir, append(slices.Clone(w.image), "IMAGE", strconv.FormatInt(size, 10)), func(ctx context.Context, uri, _ string) (time.Duration, error) {
				return c.copy(ctx, source, uri)
			})
		}})
	}
	return append(all,
		figures.Contender{Name: "qemu-img convert, the agent's image", Run: func(ctx context.Context) (time.Duration, error) {
			return timed(ctx, filepath.Join(h.Dir, "convert.qcow2"), func(path string) []string {
				return []string{
					"qemu-img", "convert", "-t", "none", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=1M,extended_l2=on", source, path,
				}
			})
		}},
		figures.Contender{Name: "dd O_DIRECT, raw, zeroes too", Run: func(ctx context.Context) (time.Duration, error) {
			return timed(ctx, filepath.Join(h.Dir, "dd.raw"), func(path string) []string {
				return []string{"dd", "if=" + source, "of=" + path, "bs=1M", "oflag=direct", "conv=fsync", "status=none"}
			})
		}},
	)
}

// timed runs a command that writes a file, and removes the file.
func timed(ctx context.Context, path string, command func(path string) []string) (time.Duration, error) {
	argv := command(path)
	began := time.Now()
	err := host.Run(ctx, argv[0], argv[1:]...)
	took := time.Since(began)
	return took, errors.Join(err, os.Remove(path))
}

// writing writes to an export with an image at the path.
type Writing func(ctx context.Context, uri, image string) (time.Duration, error)

// copyThrough starts a backup, writes to its one export, and cancels it.
func copyThrough(ctx context.Context, h *hub.Hub, r rpc.StartRequest, write Writing) (time.Duration, error) {
	b, err := h.Client.StartBackup(ctx, r)
	if err != nil {
		return 0, err
	}
	_, uri, _ := strings.Cut(b.NBDTargetsString, ":")
	took, err := write(ctx, uri, b.DiskResults[0].QCOW2Path)
	return took, errors.Join(err, h.Cancel(ctx, b.BackupID))
}

// copyServed makes an image with qemu-img, serves it, writes to it, and removes it.
func copyServed(ctx context.Context, way rival.Server, dir string, image []string, write Writing) (took time.Duration, err error) {
	s := &rival.Served{Dir: dir, Images: []string{filepath.Join(dir, "image")}}
	args := slices.Clone(image)
	for i, arg := range args {
		if arg == "IMAGE" {
			args[i] = s.Images[0]
		}
	}
	if err := host.Run(ctx, "qemu-img", args...); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.Remove(s.Images[0])) }()
	if err := way.Start(ctx, s); err != nil {
		return 0, errors.Join(err, s.Stop(ctx))
	}
	took, err = write(ctx, "nbd://127.0.0.1:"+s.Port(0)+"/disk0", s.Images[0])
	return took, errors.Join(err, s.Stop(ctx))
}
