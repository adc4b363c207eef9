package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A server is what a user could serve images with in place of the agent. start returns when every image is served; the
// servers' processes are in a process group that stop ends.
type server struct {
	name  string
	start func(ctx context.Context, s *served) error
}

// served is what a server serves, and on which ports.
type served struct {
	dir    string
	images []string
	pids   []string // files with the processes to end
}

const serverPort = 21000 // and up

func (s *served) port(i int) string { return strconv.Itoa(serverPort + i) }

func (s *served) pid(i int) string {
	path := filepath.Join(s.dir, fmt.Sprintf("%d.pid", i))
	s.pids = append(s.pids, path)
	return path
}

// stop ends every server by SIGTERM, and waits for it: only then is what was written on the disk.
func (s *served) stop(ctx context.Context) error {
	var errs []error
	for _, path := range s.pids {
		text, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		pid := strings.TrimSpace(string(text))
		_ = exec.Command("kill", pid).Run()
		errs = append(errs, eventually(ctx, "process "+pid+" ends", func() bool {
			_, err := os.Stat("/proc/" + pid)
			_ = exec.Command("kill", pid).Run() // qemu-nbd loses one that comes right after its start
			return err != nil
		}))
		_ = os.Remove(path)
	}
	s.pids = nil
	return errors.Join(errs...)
}

// originalOptions are those of the agent's predecessor.
func (s *served) originalOptions(i int) []string {
	return []string{
		"-f", "qcow2", "-x", fmt.Sprintf("disk%d", i), "-p", s.port(i), "-b", "127.0.0.1", "--shared=10", "-t",
	}
}

// ourOptions are those that the agent gives.
var ourOptions = []string{"--cache=none", "--aio=io_uring", "--discard=unmap", "--detect-zeroes=unmap"}

var (
	// original is the predecessor's way: one after another, and a poll of the port, which proves nothing.
	original = server{"one after another, TCP poll", func(ctx context.Context, s *served) error {
		for i, image := range s.images {
			cmd := exec.Command("qemu-nbd", append(s.originalOptions(i), image)...)
			if err := cmd.Start(); err != nil {
				return err
			}
			go func() { _ = cmd.Wait() }()
			// Its own PID file comes after it listens.
			if err := os.WriteFile(s.pid(i), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
				return err
			}
			if err := dialable(ctx, s.port(i)); err != nil {
				return err
			}
		}
		return nil
	}}
	bare = bareWith(ourOptions)
	kit  = server{"nbdkit file", func(ctx context.Context, s *served) error {
		err := s.shell(ctx, func(i int, image string) []string {
			return []string{"nbdkit", "--pidfile=" + s.pid(i), "--ipaddr=127.0.0.1", "--port=" + s.port(i), "file", image, "cache=none"}
		})
		for _, path := range s.pids { // what it serves by, says nbdkit(1)
			err = errors.Join(err, appears(ctx, path))
		}
		return err
	}}
	storageDaemon = server{"qemu-storage-daemon, one process", func(ctx context.Context, s *served) error {
		return run(ctx, "qemu-storage-daemon", s.storageDaemon()...)
	}}
)

// bareWith is a shell that starts them all with these options and waits for them.
func bareWith(options []string) server {
	return server{"bare qemu-nbd, from a shell", func(ctx context.Context, s *served) error {
		return s.shell(ctx, func(i int, image string) []string {
			args := append([]string{"qemu-nbd", "--fork", "--pid-file=" + s.pid(i)}, s.originalOptions(i)...)
			return append(append(args, options...), image)
		})
	}}
}

// shell runs one command for each image, all at the same time, and waits for their ends: they leave the servers behind.
func (s *served) shell(ctx context.Context, command func(i int, image string) []string) error {
	var script strings.Builder
	for i, image := range s.images {
		fmt.Fprintf(&script, "%s & p%d=$!\n", strings.Join(command(i, image), " "), i)
	}
	for i := range s.images {
		fmt.Fprintf(&script, "wait $p%d || exit 1\n", i)
	}
	return run(ctx, "sh", "-c", script.String())
}

// storageDaemon serves every image from one process, on one port.
func (s *served) storageDaemon() []string {
	args := []string{
		"--daemonize", "--pidfile", s.pid(0),
		"--nbd-server", "addr.type=inet,addr.host=127.0.0.1,addr.port=" + s.port(0) + ",max-connections=0",
	}
	for i, image := range s.images {
		args = append(
			args,
			"--blockdev", fmt.Sprintf("driver=qcow2,node-name=n%d,discard=unmap,detect-zeroes=unmap,file.driver=file,file.filename=%s,"+
				"file.cache.direct=on,file.aio=io_uring,file.discard=unmap", i, image),
			"--export", fmt.Sprintf("type=nbd,id=e%d,node-name=n%d,name=disk%d,writable=on", i, i, i),
		)
	}
	return args
}

// appears polls until a file has content.
func appears(ctx context.Context, path string) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("%s does not appear", path)
		}
	}
}

// dialable polls until somebody listens.
func dialable(ctx context.Context, port string) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			return c.Close()
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("port %s: %w", port, err)
		}
	}
}
