// Package rival is what the agent is compared with: servers of images that a user could run in its place, systemd alone with the very
// same units, and a client that copies as SBC does.
package rival

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sendense/backup-agent/cmd/internal/bench/host"
)

// A Server is an alternative to the agent for serving images. Start returns when every image is served; Stop of Served ends its
// processes.
type Server struct {
	Name  string
	Start func(ctx context.Context, s *Served) error
}

// Served are the images that a server serves, and their ports.
type Served struct {
	Dir    string
	Images []string
	pids   []string // files with the processes to end
}

const serverPort = 21000 // and up

// Port is the port of an image.
func (s *Served) Port(i int) string { return strconv.Itoa(serverPort + i) }

// PID is the PID file of the process that serves an image, which Stop ends.
func (s *Served) PID(i int) string {
	path := filepath.Join(s.Dir, fmt.Sprintf("%d.pid", i))
	s.pids = append(s.pids, path)
	return path
}

// Stop ends every server with SIGTERM, and waits for it: only then all data is on the disk.
func (s *Served) Stop(ctx context.Context) error {
	var errs []error
	for _, path := range s.pids {
		text, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		pid := strings.TrimSpace(string(text))
		_ = exec.Command("kill", pid).Run()
		errs = append(errs, host.Eventually(ctx, "process "+pid+" ends", func() bool {
			_, err := os.Stat("/proc/" + pid)
			_ = exec.Command("kill", pid).Run() // qemu-nbd may lose a signal right after its start
			return err != nil
		}))
		_ = os.Remove(path)
	}
	s.pids = nil
	return errors.Join(errs...)
}

// originalOptions are those of the agent's predecessor.
func (s *Served) originalOptions(i int) []string {
	return []string{
		"-f", "qcow2", "-x", fmt.Sprintf("disk%d", i), "-p", s.Port(i), "-b", "127.0.0.1", "--shared=10", "-t",
	}
}

// AgentOptions are the agent's.
var AgentOptions = []string{"--cache=none", "--aio=io_uring", "--discard=unmap", "--detect-zeroes=unmap"}

var (
	// Original is the predecessor's way: one after another, and a poll of the port, which proves nothing.
	Original = Server{Name: "one after another, TCP poll", Start: func(ctx context.Context, s *Served) error {
		for i, image := range s.Images {
			cmd := exec.Command("qemu-nbd", append(s.originalOptions(i), image)...)
			if err := cmd.Start(); err != nil {
				return err
			}
			go func() { _ = cmd.Wait() }()
			// It writes its own PID file after it listens.
			if err := os.WriteFile(s.PID(i), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
				return err
			}
			if err := host.Dialable(ctx, s.Port(i)); err != nil {
				return err
			}
		}
		return nil
	}}
	Bare = BareWith(AgentOptions)
	Kit  = Server{Name: "nbdkit file", Start: func(ctx context.Context, s *Served) error {
		err := s.Shell(ctx, func(i int, image string) []string {
			return []string{"nbdkit", "--pidfile=" + s.PID(i), "--ipaddr=127.0.0.1", "--port=" + s.Port(i), "file", image, "cache=none"}
		})
		for _, path := range s.pids { // nbdkit is ready when its PID file exists (nbdkit(1))
			err = errors.Join(err, host.Appears(ctx, path))
		}
		return err
	}}
	StorageDaemon = Server{Name: "qemu-storage-daemon, one process", Start: func(ctx context.Context, s *Served) error {
		return host.Run(ctx, "qemu-storage-daemon", s.storageDaemon()...)
	}}
)

// BareWith starts them all from a shell, with these options, and waits for them.
func BareWith(options []string) Server {
	return Server{Name: "bare qemu-nbd, from a shell", Start: func(ctx context.Context, s *Served) error {
		return s.Shell(ctx, func(i int, image string) []string {
			args := append([]string{"qemu-nbd", "--fork", "--pid-file=" + s.PID(i)}, s.originalOptions(i)...)
			return append(append(args, options...), image)
		})
	}}
}

// Shell runs one command for each image, all at the same time, and waits for them to end. The servers continue.
func (s *Served) Shell(ctx context.Context, command func(i int, image string) []string) error {
	var script strings.Builder
	for i, image := range s.Images {
		fmt.Fprintf(&script, "%s & p%d=$!\n", strings.Join(command(i, image), " "), i)
	}
	for i := range s.Images {
		fmt.Fprintf(&script, "wait $p%d || exit 1\n", i)
	}
	return host.Run(ctx, "sh", "-c", script.String())
}

// storageDaemon serves every image from one process, on one port.
func (s *Served) storageDaemon() []string {
	args := []string{
		"--daemonize", "--pidfile", s.PID(0),
		"--nbd-server", "addr.type=inet,addr.host=127.0.0.1,addr.port=" + s.Port(0) + ",max-connections=0",
	}
	for i, image := range s.Images {
		args = append(
			args,
			"--blockdev", fmt.Sprintf("driver=qcow2,node-name=n%d,discard=unmap,detect-zeroes=unmap,file.driver=file,file.filename=%s,"+
				"file.cache.direct=on,file.aio=io_uring,file.discard=unmap", i, image),
			"--export", fmt.Sprintf("type=nbd,id=e%d,node-name=n%d,name=disk%d,writable=on", i, i, i),
		)
	}
	return args
}

// TimeStart serves new images, and stops. The time to make the images does not count.
func (way Server) TimeStart(ctx context.Context, f *Floor, disks int) (took time.Duration, err error) {
	images, err := f.images(ctx, disks, DiskOfStart)
	if err != nil {
		return 0, err
	}
	s := &Served{Dir: filepath.Dir(images[0]), Images: images}
	defer func() { err = errors.Join(err, s.Stop(ctx), os.RemoveAll(s.Dir)) }()
	began := time.Now()
	err = way.Start(ctx, s)
	return time.Since(began), err
}
