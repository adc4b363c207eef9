package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/sendense/backup-agent/agent/export"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// trialExport is the name that trial images are served under, and trialBytes their size.
const (
	trialExport = "sendense-doctor-disk0"
	trialBytes  = 64 << 20
)

// A feature of QEMU that is used, with what it costs not to have it.
type feature struct {
	name     string
	io       qemu.IOMode
	limit    int64
	refuse   bool // WRITE_ZEROES
	required bool
	hint     string
}

var features = []feature{
	{
		name: "socket activation", io: qemu.BufferedIO, required: true,
		hint: "qemu-nbd must take its socket from systemd (LISTEN_FDS), with --discard, --detect-zeroes and --export-name: install qemu-utils 5.2 or newer",
	},
	{
		name: "aio=io_uring", io: qemu.IOMode{Cache: "writeback", AIO: "io_uring"},
		hint: "worker threads are used, which is slower: use a kernel that allows io_uring (sysctl kernel.io_uring_disabled=0) and a qemu-nbd built with it",
	},
	{
		name: "throttle filter", io: qemu.BufferedIO, limit: qemu.MinRateLimit, required: true,
		hint: "rate limits need QEMU's throttle driver: install the whole of QEMU's block drivers",
	},
	{name: "refusal of WRITE_ZEROES", io: qemu.BufferedIO, refuse: true, required: true, hint: export.RefusalHint},
}

// features tries what is used of QEMU on an image of its own, in a directory for temporary files.
func (h *host) features(ctx context.Context) []Finding {
	about := one("features", h.config.NBD.QemuNBD)
	sweepTemporary()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", trialPrefix, os.Getpid()))
	if err != nil {
		return about.error(err.Error(), "make a directory for temporary files that can be written, or set TMPDIR")
	}
	defer os.RemoveAll(dir) //nolint:errcheck // of files in a directory for temporary ones
	image := filepath.Join(dir, "trial.qcow2")
	spec := qemu.ImageSpec{Path: image, SizeBytes: trialBytes, ClusterBytes: qemu.FullClusterBytes, ExtendedL2: true}
	tools := qemu.Tools{QemuImg: h.config.NBD.QemuImg}
	if err := makeTrialImage(ctx, tools, spec); err != nil {
		return one("features", h.config.NBD.QemuImg).error("extended_l2: "+err.Error(), "install qemu-utils 5.2 or newer")
	}
	tried := []string{"extended_l2"}
	var found []Finding
	for _, f := range features {
		if f.refuse && h.config.SNA.AcceptWriteZeroes {
			continue
		}
		err := serveTrial(ctx, qemu.ServerOptions{
			Binary: h.config.NBD.QemuNBD, Image: image, Export: trialExport, IO: f.io, RateLimit: f.limit, RefuseZeroes: f.refuse, Foreground: true,
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
	return append(about.ok("tried and working: "+strings.Join(tried, ", ")), found...)
}

func makeTrialImage(ctx context.Context, tools qemu.Tools, spec qemu.ImageSpec) error {
	if err := tools.Create(ctx, spec); err != nil {
		return err
	}
	info, err := tools.Info(spec.Path)
	if err == nil && (!info.ExtendedL2 || info.VirtualBytes != spec.SizeBytes) {
		err = fmt.Errorf("image %s is not what was asked for", spec.Path)
	}
	return err
}

// serveTrial runs qemu-nbd as systemd would, on a listening socket it is handed, and shakes hands with it.
func serveTrial(ctx context.Context, o qemu.ServerOptions) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	argv, err := o.Args()
	if err != nil {
		return err
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer listener.Close() //nolint:errcheck // it may be closed already
	socket, err := listener.File()
	if err != nil {
		return err
	}
	defer socket.Close() //nolint:errcheck // of a copy
	// Only the process itself knows the number that LISTEN_PID must be.
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`}, argv...)...)
	cmd.WaitDelay = time.Second
	cmd.Env, cmd.Dir, cmd.ExtraFiles = []string{"LISTEN_FDS=1", "LC_ALL=C"}, "/", []*os.File{socket}
	var words bytes.Buffer
	cmd.Stderr = &words
	// It must not outlive a doctor that is killed. The signal comes when the thread ends that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	// From now on the socket is qemu-nbd's alone, so that nobody waits for an answer when it dies.
	_, _ = listener.Close(), socket.Close()
	_, probeErr := nbd.Probe(ctx, listener.Addr().String(), o.Export)
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may be dead, which Wait tells
	err = cmd.Wait()
	if said := strings.TrimSpace(words.String()); probeErr != nil && said != "" {
		return errors.New(said)
	}
	return errors.Join(probeErr, err)
}

// sweepTemporary removes the directories of doctors that were killed.
func sweepTemporary() {
	entries, _ := os.ReadDir(os.TempDir())
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || !isStale(e.Name()) || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
			continue
		}
		_ = os.RemoveAll(filepath.Join(os.TempDir(), e.Name())) // what stays is the next one's
	}
}
