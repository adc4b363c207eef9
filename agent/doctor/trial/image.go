package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// Export is the name of the trial's export, and Bytes the size of its image.
const (
	Export = "sendense-doctor-disk0"
	Bytes  = 64 << 20
)

// MakeImage makes an image, and checks it.
func MakeImage(ctx context.Context, images storage.Images, spec qemu.ImageSpec) error {
	if err := images.Create(ctx, spec); err != nil {
		return err
	}
	info, err := images.Info(ctx, spec.Path)
	if err == nil && (!info.ExtendedL2 || info.VirtualBytes != spec.SizeBytes) {
		err = fmt.Errorf("image %s is not what was asked for", spec.Path)
	}
	return err
}

// Serve runs qemu-nbd as systemd would, with a listening socket, and does a handshake.
func Serve(ctx context.Context, o qemu.ServerOptions) error {
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
	// It must not outlive a doctor that is killed. The kernel sends the signal when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	// Only qemu-nbd holds the socket from here on, so that nobody waits for an answer if it dies.
	_, _ = listener.Close(), socket.Close()
	_, probeErr := nbd.Probe(ctx, listener.Addr().String(), o.Export)
	_ = cmd.Process.Signal(syscall.SIGTERM) // Wait reports one that is dead
	err = cmd.Wait()
	if said := strings.TrimSpace(words.String()); probeErr != nil && said != "" {
		return errors.New(said)
	}
	return errors.Join(probeErr, err)
}
