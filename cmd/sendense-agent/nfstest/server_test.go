package nfstest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server exports two directories, in a network namespace of its own: nothing outside reaches it, and its ports are free.
type server struct {
	testing.TB
	dir  string // outside of the machine: export and squashed are what is exported
	pid  int    // of the process that holds the network
	nfs  *exec.Cmd
	conf string
}

const (
	nfsPort   = 12049
	mountPort = 12050
)

func newServer(t testing.TB) *server {
	dir, err := os.MkdirTemp("/var/tmp", "nfstest-") // a file system with file handles: an overlay has none
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	s := &server{TB: t, dir: dir, conf: filepath.Join(dir, "ganesha.conf")}
	for name, mode := range map[string]os.FileMode{"export": 0o755, "squashed": 0o777, "recovery": 0o700} {
		must(t, os.Mkdir(filepath.Join(dir, name), mode))
		must(t, os.Chmod(filepath.Join(dir, name), mode))
	}
	must(t, os.WriteFile(s.conf, fmt.Appendf(nil, `
NFS_CORE_PARAM {
	Protocols = 3, 4; NFS_Port = %[2]d; MNT_Port = %[3]d; Enable_NLM = false; Enable_RQUOTA = false; mount_path_pseudo = true;
}
NFSV4 { Graceless = true; RecoveryRoot = %[1]s/recovery; }
EXPORT {
	Export_Id = 1; Path = %[1]s/export; Pseudo = /export; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; FSAL { Name = VFS; }
}
EXPORT {
	Export_Id = 2; Path = %[1]s/squashed; Pseudo = /squashed; Access_Type = RW; Squash = Root_Squash; SecType = sys; FSAL { Name = VFS; }
}
`, dir, nfsPort, mountPort), 0o600))
	holder := exec.Command("unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity")
	up, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	t.Cleanup(func() { end(holder) })
	_, err = up.Read(make([]byte, 3))
	must(t, err)
	s.pid = holder.Process.Pid
	portmapper := s.command("rpcbind", "-w", "-f")
	must(t, portmapper.Start())
	t.Cleanup(func() { end(portmapper) })
	s.start()
	t.Cleanup(func() { end(s.nfs) })
	return s
}

// command is one that runs in the network of the server.
func (s *server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command("nsenter", append([]string{"--net=/proc/" + strconv.Itoa(s.pid) + "/ns/net", name}, args...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

func end(c *exec.Cmd) {
	_ = c.Process.Kill()
	_ = c.Wait() // it was killed
}

// start starts the server, and returns when it answers.
func (s *server) start() {
	s.Helper()
	log := filepath.Join(s.dir, "ganesha.log")
	s.nfs = s.command("ganesha.nfsd", "-F", "-f", s.conf, "-L", log, "-p", filepath.Join(s.dir, "ganesha.pid"))
	must(s, s.nfs.Start())
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		out, err := s.command("sh", "-c", fmt.Sprintf("ss -Hltn 'sport = :%d'", nfsPort)).Output()
		must(s, err)
		if strings.Contains(string(out), ":"+strconv.Itoa(nfsPort)) {
			return
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log)
			s.Fatalf("the server does not listen:\n%s", text)
		}
	}
}

// do does what the machine asks of the server.
func (s *server) do(request string) error {
	verb, path, _ := strings.Cut(request, " ")
	switch verb {
	case "stop":
		return s.nfs.Process.Signal(syscall.SIGSTOP)
	case "continue":
		return s.nfs.Process.Signal(syscall.SIGCONT)
	case "kill":
		end(s.nfs)
		return nil
	case "start":
		s.start()
		return nil
	case "remove":
		if !filepath.IsLocal(path) {
			return fmt.Errorf("%s: not in the export", path)
		}
		return os.RemoveAll(filepath.Join(s.dir, "export", path))
	}
	return fmt.Errorf("no such request")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
