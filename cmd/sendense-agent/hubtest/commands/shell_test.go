package commands_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sendense/backup-agent/cmd/sendense-agent/hubtest"
	"golang.org/x/sys/unix"
)

// A shell is one that somebody types into, on a terminal of its own.
type shell struct {
	*testing.T
	master *os.File
	out    hubtest.Output
}

// shells are how each is started without what the machine's user has configured, and told to complete sendensectl.
var shells = map[string]struct {
	args  []string
	setup string
}{
	"bash": {[]string{"--norc", "--noprofile", "-i"}, "source /usr/share/bash-completion/bash_completion; source <(sendensectl completion bash)"},
	"zsh":  {[]string{"-f", "-i"}, "autoload -U compinit; compinit -u -D; source <(sendensectl completion zsh)"},
	"fish": {[]string{"--no-config", "-i"}, "sendensectl completion fish | source"},
}

func startShell(t *testing.T, name string) *shell {
	t.Helper()
	s := &shell{T: t}
	terminal := s.openTerminal()
	cmd := exec.Command(name, shells[name].args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(hubtest.Program("x"))+":"+os.Getenv("PATH"), "TERM=xterm", "NO_COLOR=1", "HOME="+t.TempDir(), "XDG_DATA_HOME=", "XDG_CONFIG_HOME=")
	hubtest.Must(t, cmd.Start())
	terminal.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := s.master.Read(buf)
			_, _ = s.out.Write(buf[:n])
			if err != nil { // EIO, once the shell has ended
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		<-read
		s.master.Close()
	})
	s.types(shells[name].setup + "; echo rea''dy\r")
	s.sees("ready\r\n")
	return s
}

// sees waits until something stands on the terminal.
func (s *shell) sees(text string) {
	s.Helper()
	for deadline := time.Now().Add(hubtest.Patience); !strings.Contains(s.out.String(), text); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("no %q within %s in\n%q", text, hubtest.Patience, s.out.String())
		}
	}
}

func (s *shell) openTerminal() *os.File {
	s.Helper()
	var err error
	s.master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	hubtest.Must(s.T, err)
	fd := int(s.master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	hubtest.Must(s.T, err)
	hubtest.Must(s.T, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	hubtest.Must(s.T, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 150}))
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	hubtest.Must(s.T, err)
	return terminal
}

func (s *shell) types(keys string) {
	s.Helper()
	_, err := s.master.WriteString(keys)
	hubtest.Must(s.T, err)
}

// VMs and backups complete from the live agent in the shells that people use.
func TestCompletionInShells(t *testing.T) {
	h := hubtest.New(t)
	h.AddVM("pgtest1", hubtest.DiskSize)
	h.AddVM("SQL Server 01", hubtest.DiskSize)
	h.Steps(hubtest.Step(hubtest.Words("backup start pgtest1 --wait"), 0, "completed", "completed"))
	for name := range shells {
		vm := "shell-" + name
		h.AddVM(vm, hubtest.DiskSize)
		t.Run(name, func(t *testing.T) {
			running := h.Held(vm, "copy/0")
			defer h.Release("copy/0")
			s := startShell(t, name)
			for _, tt := range []struct{ typed, seen string }{
				{"sendensectl vm show pgt\t", "/DC1/vm/pgtest1"},
				{"sendensectl vm show SQL\t", "/DC1/vm/SQL Server 01"},
				{"sendensectl repos\tsh\tm\t", filepath.Join(h.Dir, "repository")},
				{"sendensectl backup list --state comp\t", "backup-pgtest1-"},
				{"sendensectl backup cancel \t", "backup " + running + " was "}, // and not the one that has ended
			} {
				s.types(tt.typed + "\r")
				s.sees(tt.seen)
			}
		})
	}
}

func TestCompletion(t *testing.T) {
	h := hubtest.New(t, vcenterTable("main"), vcenterTable("lab"))
	h.AddVM("pgtest1", hubtest.DiskSize)
	h.AddVM("web1", hubtest.DiskSize)
	h.Steps(hubtest.Step(hubtest.Words("backup start pgtest1 --wait"), 0, "completed", "completed"))
	running := h.Held("web1", "copy/0")
	complete := func(args ...string) []string {
		t.Helper()
		code, stdout, _ := h.CTL(append([]string{"__complete"}, args...)...)
		var list []string
		for line := range strings.Lines(stdout) {
			if word, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); !strings.HasPrefix(word, ":") {
				list = append(list, word)
			}
		}
		if code != 0 || strings.Contains(stdout, "rror") {
			t.Errorf("%q: %d %s", args, code, stdout)
		}
		return list
	}
	for _, tt := range []struct{ args, want string }{
		{"vm show |", "pgtest1 web1"},
		{"vm remove p|", "pgtest1"},
		{"vm show web1 |", ""},
		{"backup start |", "pgtest1 web1"},
		{"backup list --vm w|", "web1"},
		{"backup cancel |", running},
		{"backup wait b|", running},
		{"repository show |", "main"},
		{"backup start web1 --repository |", "main"},
		{"backup start web1 --type |", "full incremental auto"},
		{"completion |", "bash zsh fish"},
		{"status --socket /nosuch vm show |", ""},
		{"vm discover |", "lab main"},
		{"vm discover l|", "lab"},
		{"vm discover lab |", ""},
		{"vm add x --vcenter |", "lab main"},
	} {
		args := strings.Fields(strings.TrimSuffix(tt.args, "|"))
		if strings.HasSuffix(tt.args, " |") {
			args = append(args, "")
		}
		if got := strings.Join(complete(args...), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.args, got, tt.want)
		}
	}
	ended := complete("backup", "delete", "")
	if len(ended) != 1 || !strings.HasPrefix(ended[0], "backup-pgtest1-") {
		t.Errorf("can be deleted: %q", ended)
	}
	h.End() // and an agent that is gone is nobody's trouble
	if got := complete("vm", "show", ""); len(got) != 0 {
		t.Errorf("from an agent that is gone: %q", got)
	}
}

// vcenterTable is a vCenter of the configuration, whose password is not needed.
func vcenterTable(name string) string {
	return "[vcenter." + name + "]\nhost = \"vcenter.test\"\nuser = \"backup\"\npassword_credential = \"" + name + "\""
}
