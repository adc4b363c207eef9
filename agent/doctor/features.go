package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sendense/backup-agent/agent/doctor/trial"
	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd/iomode"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// A feature is one of QEMU's that the agent uses.
type feature struct {
	name     string
	io       iomode.Mode
	limit    int64
	refuse   bool // WRITE_ZEROES
	required bool
	hint     string
}

var features = []feature{
	{
		name: "socket activation", io: iomode.Buffered, required: true,
		hint: "qemu-nbd must take its socket from systemd (LISTEN_FDS), with --discard, --detect-zeroes and --export-name: install qemu-utils 5.2 or newer",
	},
	{
		name: "aio=io_uring", io: iomode.Mode{Cache: "writeback", AIO: "io_uring"},
		hint: "QEMU uses threads instead, which is slower: use a kernel that allows io_uring (sysctl kernel.io_uring_disabled=0) and a qemu-nbd built with it",
	},
	{
		name: "throttle filter", io: iomode.Buffered, limit: qemu.MinRateLimit, required: true,
		hint: "rate limits need QEMU's throttle driver: install all of QEMU's block drivers",
	},
	{name: "refusal of WRITE_ZEROES", io: iomode.Buffered, refuse: true, required: true, hint: export.RefusalHint},
}

// features tries what the agent uses of QEMU, with an image in a directory for temporary files.
func (h *host) features(ctx context.Context) []Finding {
	about := one("features", h.config.NBD.QemuNBD)
	trial.SweepTemporary()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", trial.Prefix, os.Getpid()))
	if err != nil {
		return about.error(err.Error(), "set TMPDIR to a directory that can be written")
	}
	defer os.RemoveAll(dir) //nolint:errcheck // of files in a directory for temporary ones
	image := filepath.Join(dir, "trial.qcow2")
	spec := qemu.ImageSpec{Path: image, SizeBytes: trial.Bytes, ClusterBytes: qemu.FullClusterBytes, ExtendedL2: true}
	images := storage.New(storage.Options{Spec: storage.Spec{ID: "trial", Path: dir, QemuImg: h.config.NBD.QemuImg}}).Images(qemu.Secret{})
	if err := trial.MakeImage(ctx, images, spec); err != nil {
		return one("features", h.config.NBD.QemuImg).error("extended_l2: "+err.Error(), "install qemu-utils 5.2 or newer")
	}
	tried := []string{"extended_l2"}
	var found []Finding
	for _, f := range features {
		if f.refuse && h.config.SNA.AcceptWriteZeroes {
			continue
		}
		err := trial.Serve(ctx, qemu.ServerOptions{
			Binary: h.config.NBD.QemuNBD, Image: image, Export: trial.Export, IO: f.io, RateLimit: f.limit, RefuseZeroes: f.refuse, Foreground: true,
		})
		switch {
		case err == nil:
			tried = append(tried, f.name)
		case f.required:
			found = append(found, about.error(f.name+" does not work: "+err.Error(), f.hint)...)
		default:
			found = append(found, about.warn(f.name+" does not work: "+err.Error(), f.hint)...)
		}
	}
	return append(about.ok("these work: "+strings.Join(tried, ", ")), found...)
}
