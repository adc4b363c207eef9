package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/rpc"
)

const block = 1 << 20

// kinds of data, by how many of the blocks are random: of "half" the others are zeroes that are written in the source, of
// "sparse" they are holes.
var kinds = []string{"random", "half zeroes", "sparse"}

// parts are of how many blocks of a kind one is random.
var parts = map[string]int64{"random": 1, "half zeroes": 2, "sparse": 8}

// writeSource makes a raw disk of a kind.
func writeSource(path, kind string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, zeroes := make([]byte, block), make([]byte, block)
	for at := int64(0); at < size; at += block {
		random := at/block%parts[kind] == 0
		switch {
		case !random && kind == "sparse":
			continue
		case !random:
			_, err = f.WriteAt(zeroes, at)
		default:
			_, _ = rand.Read(data)
			_, err = f.WriteAt(data, at)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(f.Truncate(size), f.Sync())
}

// nbdcopy writes a source to an export, and flushes it. Zeroes are left out: the exports of a backup refuse WRITE_ZEROES, on which
// nbdcopy, unlike SBC, gives up.
func nbdcopy(ctx context.Context, source, uri string, options ...string) (time.Duration, error) {
	began := time.Now()
	err := run(ctx, "nbdcopy", append(options, "--destination-is-zero", "--flush", source, uri)...)
	return time.Since(began), err
}

// measureFull: how fast a full backup is written, and how much of the disk it takes.
func measureFull(ctx context.Context, s settings) (p part, err error) {
	p = part{
		title: "Writing a full backup",
		method: fmt.Sprintf("The same client, `nbdcopy --destination-is-zero --flush`, copies what is not zero of a raw disk of %d MiB (in the page cache) to an image on the disk, through the export of a "+
			"running backup of the agent and through what could serve the image in its place. Beside them `qemu-img convert` and dd with O_DIRECT, which write "+
			"without NBD. Of the sparse disk an eighth is data. Milliseconds from the connection until all is flushed; agent / other.", s.size>>20),
		head: []string{"data", "way", "ms", "agent / it"},
	}
	h, err := newHub(ctx, s, filepath.Join(s.disk, "full"))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, h.close(ctx)) }()
	if err := errors.Join(h.hold(), h.putVM(ctx, "vm", 1, s.size)); err != nil {
		return p, err
	}
	for _, kind := range kinds {
		source := filepath.Join(h.dir, "source.raw")
		if err := writeSource(source, kind, s.size); err != nil {
			return p, err
		}
		t, err := takeTurns(ctx, s.rounds, fullCopiers(h, source))
		if err != nil {
			return p, fmt.Errorf("%s: %w", kind, err)
		}
		for _, c := range fullCopiers(h, source) {
			ratio := ""
			if c.name != ours {
				ratio = t.ratio(ours, c.name).String()
			}
			p.add(kind, c.name, t.of(c.name).String(), ratio)
		}
	}
	return p, nil
}

func fullCopiers(h *hub, source string) []contender {
	size := h.set.size
	agents := func(repository string) func(context.Context) (time.Duration, error) {
		return func(ctx context.Context) (time.Duration, error) {
			r := rpc.StartRequest{VMName: "vm", BackupType: rpc.Full, RepositoryID: repository}
			return h.copied(ctx, r, func(ctx context.Context, uri, _ string) (time.Duration, error) {
				return nbdcopy(ctx, source, uri)
			})
		}
	}
	all := []contender{{ours, agents("")}, {"agent, encrypted repository", agents(encryptedRepository)}}
	for _, w := range []struct {
		name  string
		way   server
		image []string // qemu-img's arguments; none for a raw file
	}{
		{"qemu-nbd, options of the predecessor", original, []string{"create", "-q", "-f", "qcow2"}},
		{"qemu-nbd, the agent's options, 64k clusters", bare, []string{"create", "-q", "-f", "qcow2"}},
		{"qemu-nbd, the agent's options, 1M clusters", bare, []string{"create", "-q", "-f", "qcow2", "-o", "cluster_size=1M"}},
		{"qemu-storage-daemon, the agent's image", storageDaemon, []string{"create", "-q", "-f", "qcow2", "-o", "cluster_size=1M,extended_l2=on"}},
		{"nbdkit file, raw", kit, []string{"create", "-q", "-f", "raw"}},
	} {
		all = append(all, contender{w.name, func(ctx context.Context) (time.Duration, error) {
			return w.way.copied(ctx, h.dir, append(slices.Clone(w.image), "IMAGE", strconv.FormatInt(size, 10)), func(ctx context.Context, uri, _ string) (time.Duration, error) {
				return nbdcopy(ctx, source, uri)
			})
		}})
	}
	return append(all,
		contender{"qemu-img convert, the agent's image", func(ctx context.Context) (time.Duration, error) {
			return timed(ctx, filepath.Join(h.dir, "convert.qcow2"), func(path string) []string {
				return []string{
					"qemu-img", "convert", "-t", "none", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=1M,extended_l2=on", source, path,
				}
			})
		}},
		contender{"dd O_DIRECT, raw, zeroes too", func(ctx context.Context) (time.Duration, error) {
			return timed(ctx, filepath.Join(h.dir, "dd.raw"), func(path string) []string {
				return []string{"dd", "if=" + source, "of=" + path, "bs=1M", "oflag=direct", "conv=fsync", "status=none"}
			})
		}},
	)
}

// timed runs a command that writes a file, and removes the file.
func timed(ctx context.Context, path string, command func(path string) []string) (time.Duration, error) {
	argv := command(path)
	began := time.Now()
	err := run(ctx, argv[0], argv[1:]...)
	took := time.Since(began)
	return took, errors.Join(err, os.Remove(path))
}

// writing writes to an export, whose image lies at the path.
type writing func(ctx context.Context, uri, image string) (time.Duration, error)

// copied starts a backup, has its one export written to, and cancels it.
func (h *hub) copied(ctx context.Context, r rpc.StartRequest, write writing) (time.Duration, error) {
	b, err := h.client.StartBackup(ctx, r)
	if err != nil {
		return 0, err
	}
	_, uri, _ := strings.Cut(b.NBDTargetsString, ":")
	took, err := write(ctx, uri, b.DiskResults[0].QCOW2Path)
	return took, errors.Join(err, h.cancel(ctx, b.BackupID))
}

// copied makes an image by qemu-img, serves it, has it written to, and removes it.
func (way server) copied(ctx context.Context, dir string, image []string, write writing) (took time.Duration, err error) {
	s := &served{dir: dir, images: []string{filepath.Join(dir, "image")}}
	args := slices.Clone(image)
	for i, arg := range args {
		if arg == "IMAGE" {
			args[i] = s.images[0]
		}
	}
	if err := run(ctx, "qemu-img", args...); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.Remove(s.images[0])) }()
	if err := way.start(ctx, s); err != nil {
		return 0, errors.Join(err, s.stop(ctx))
	}
	took, err = write(ctx, "nbd://127.0.0.1:"+s.port(0)+"/disk0", s.images[0])
	return took, errors.Join(err, s.stop(ctx))
}

// allocated is how much of the disk a file takes.
func allocated(path string) (int64, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return st.Blocks * 512, err
}
